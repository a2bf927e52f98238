"""A folder of pictures (PNG, JPEG, TIFF, BMP), one slice or video frame a file, and such pictures as masks."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import ImageTooLarge, NotAnImage, ShapeMismatch, UnsupportedDtype, WrongDimensions
from app.formats.image import MAX_IMAGE_BYTES, Geometry, from_stack
from app.formats.voxels import FileVoxels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# No coding of these formats shrinks pixels further; a header that announces more is damaged, or a bomb.
_RATIO, _ROOM_BYTES = 6000, 256 * 1024**2
_DAMAGE = (OSError, EOFError, ValueError, SyntaxError, TypeError, struct.error, zlib.error, OverflowError, LookupError)
_GREY = ("L", "I", "I;16", "I;16B", "I;16L", "F")


def list_frames(folder: Path) -> list[Path]:
    """The pictures in a folder, ordered as people count: frame 2 before frame 10."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    return sorted((path for path in found if not path.name.startswith(".")), key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A sorting key under which numbers in names count as numbers."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def load_frames(frames: Sequence[Path], *, name: str, max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The (column, row, frame) voxels of pictures in the order given, grey or in three 8-bit colours, without spacing.

    Transparency is refused unless there is none to see, for there is no place for it. Raises `NotAnImage`,
    `ImageTooLarge`, `WrongDimensions` (a frame unlike the first) and `UnsupportedDtype`.
    """
    import numpy as np

    if not frames:
        raise NotAnImage(name, "it holds no picture")
    stack: NDArray[Any] | None = None
    for index, path in enumerate(frames):
        plane = read_picture(path, max_bytes=max_bytes // len(frames), indexed=False)
        if stack is None:
            stack = np.empty((len(frames), *plane.shape), plane.dtype)
        if plane.shape != stack.shape[1:] or plane.dtype != stack.dtype:
            reason = f"a {plane.dtype.name} picture unlike the first, which is {stack.dtype.name} {stack.shape[1:]}"
            raise WrongDimensions(path.name, plane.shape, reason)
        stack[index] = plane
    assert stack is not None
    return FileVoxels(name, np.moveaxis(stack, (0, 1, 2), (2, 1, 0)), np.eye(4), None, axis=2)


def load_pages(path: Path, *, max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The (column, row, page) voxels of one picture, or of a TIFF of several pages; raises as `load_frames` does."""
    import numpy as np

    pages = count_pages(path)
    stack: NDArray[Any] | None = None
    for page in range(pages):
        plane = read_picture(path, max_bytes=max_bytes // pages, page=page)
        if stack is None:
            stack = np.empty((pages, *plane.shape), plane.dtype)
        if plane.shape != stack.shape[1:] or plane.dtype != stack.dtype:
            raise WrongDimensions(path.name, plane.shape, f"its page {page + 1} is unlike the first")
        stack[page] = plane
    assert stack is not None
    return FileVoxels(path.name, np.moveaxis(stack, (0, 1, 2), (2, 1, 0)), np.eye(4), None, axis=2)


def count_pages(path: Path) -> int:
    """How many pages a picture file has; raises `NotAnImage`."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                return max(int(getattr(picture, "n_frames", 1)), 1)
    except (Image.DecompressionBombError, *_DAMAGE) as error:
        raise NotAnImage(path.name, _first_line(error)) from None


def load_mask_frames(frames: Sequence[Path], geometry: Geometry, *, name: str) -> FileVoxels:
    """The values of greyscale or indexed pictures, the k-th of which is the mask of slice k of an image.

    Raises as `load_frames` does, and `ShapeMismatch` where number or size of the pictures differ from the image.
    """
    import numpy as np

    expected = geometry.stack_shape
    if len(frames) != expected[0]:
        raise ShapeMismatch(expected, (len(frames), *expected[1:]))
    planes = []
    for path in frames:
        plane = read_picture(path, indexed=True)
        if plane.ndim != 2:
            raise WrongDimensions(path.name, plane.shape, "a mask has one channel")
        if plane.shape != expected[1:]:
            raise ShapeMismatch(expected, (len(frames), *plane.shape))
        if plane.dtype.kind not in "iu":
            raise UnsupportedDtype(path.name, plane.dtype.name)
        planes.append(plane)
    return FileVoxels(name, from_stack(np.stack(planes), geometry.axis), np.asarray(geometry.affine), None)


def load_mask_pages(path: Path, geometry: Geometry, *, max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The values of a picture file whose k-th page is the mask of slice k; raises as `load_mask_frames` does."""
    import numpy as np

    file = load_pages(path, max_bytes=max_bytes)
    if file.voxels.ndim != 3:
        raise WrongDimensions(path.name, file.voxels.shape, "a mask has one channel")
    stack = file.voxels.transpose(2, 1, 0)
    if stack.shape != geometry.stack_shape:
        raise ShapeMismatch(geometry.stack_shape, stack.shape)
    return FileVoxels(path.name, from_stack(stack, geometry.axis), np.asarray(geometry.affine), None)


def read_picture(
    path: Path, *, max_bytes: int = MAX_IMAGE_BYTES, indexed: bool = False, page: int | None = None
) -> NDArray[Any]:
    """One picture as (H, W) or (H, W, 3); with `indexed` a palette's numbers instead of its colours.

    Raises `NotAnImage`, `ImageTooLarge`, `WrongDimensions` (several pages, and none was named) and `UnsupportedDtype`.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is judged here, against a limit of our own
            with Image.open(path, formats=_FORMATS) as picture:
                size = picture.width * picture.height * 4
                limit = min(max(max_bytes, 4096), path.stat().st_size * _RATIO + _ROOM_BYTES)
                if size > limit:
                    raise ImageTooLarge(path.name, size, limit)
                if page:
                    picture.seek(page)
                if page is None and getattr(picture, "n_frames", 1) != 1:
                    raise WrongDimensions(path.name, (picture.height, picture.width), "it holds several pages")
                return _pixels(picture, path.name, indexed=indexed)
    except (Image.DecompressionBombError, *_DAMAGE) as error:
        raise NotAnImage(path.name, _first_line(error)) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else "it is damaged"


def _pixels(picture: Any, name: str, *, indexed: bool) -> NDArray[np.generic]:
    import numpy as np

    if picture.mode in ("RGBA", "LA") and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert(picture.mode[:-1])
    if picture.mode == "1":
        # Not the picture itself: numpy takes over Pillow's bytes, in which "true" is 255 and no valid bool.
        return (np.array(picture.convert("L")) > 0).astype(np.uint8)
    if picture.mode in _GREY or (indexed and picture.mode == "P"):
        pixels = np.array(picture)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if picture.mode in ("RGB", "YCbCr", "P"):
        return np.array(picture.convert("RGB"))
    raise UnsupportedDtype(name, f"{picture.mode} (transparent, or of an unusual colour space)")
