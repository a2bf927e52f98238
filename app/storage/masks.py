"""The canonical mask and its ways in and out: uint8, C order, H x W, classes 0 to 254, 255 = unlabelled, gzip."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from app.errors import (
    EmptyMask,
    MaskLengthWrong,
    MaskTooLarge,
    NotAMask,
    NotAPng,
    ShapeMismatch,
    UnknownMaskValues,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNLABELLED = 255
UNLABELLED_COLOUR = (255, 255, 255)

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PNG_GREYSCALE, _PNG_INDEXED = 0, 3


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """The gzip bytes of a uint8 (H, W) or (Z, H, W) mask; equal masks give equal bytes (no time stamp, fixed level)."""
    # Not `gzip.compress`: its header differs between Python versions.
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    return compressor.compress(mask.tobytes(order="C")) + compressor.flush()


def decode_mask(body: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The uint8 mask of this shape in a gzip body, with no more memory than the mask itself takes.

    Raises `NotAMask` (no gzip, damaged, something behind it), `MaskLengthWrong` (a bomb, too, stops after one byte
    too many) and `MaskTooLarge` (a body longer than this shape can need).
    """
    import numpy as np

    expected = math.prod(shape)
    limit = 2 * expected + 1024  # gzip of random bytes adds 0.03 %; more than twice is padding or an attack
    if len(body) > limit:
        raise MaskTooLarge(len(body), limit)
    unpacker = zlib.decompressobj(31)
    try:
        content = unpacker.decompress(body, expected + 1)
    except zlib.error as error:
        raise NotAMask(f"it is no sound gzip stream ({error})") from None
    if len(content) > expected:
        raise MaskLengthWrong(expected, len(content))
    if not unpacker.eof:
        raise NotAMask("its gzip stream ends too early")
    if len(content) != expected:
        raise MaskLengthWrong(expected, len(content))
    if unpacker.unused_data:
        raise NotAMask("something follows its gzip stream")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def check_mask_values(mask: NDArray[np.uint8], classes: Collection[int]) -> None:
    """Raise `UnknownMaskValues` when a pixel is neither one of the classes nor 255 (unlabelled)."""
    unknown = set(count_mask_values(mask)) - set(classes) - {UNLABELLED}
    if unknown:
        raise UnknownMaskValues(unknown, classes)


def check_mask_labelled(mask: NDArray[np.uint8]) -> None:
    """Raise `EmptyMask` when every pixel is unlabelled."""
    if bool((mask == UNLABELLED).all()):
        raise EmptyMask


def count_mask_values(mask: NDArray[np.uint8]) -> dict[int, int]:
    """How many pixels have each value that occurs, 255 included, in rising order of the value."""
    import numpy as np

    counts = np.bincount(mask.reshape(-1), minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def mask_to_png(mask: NDArray[np.uint8], palette: Mapping[int, tuple[int, int, int]]) -> bytes:
    """An indexed PNG of a (H, W) mask: the index is the value, the palette gives each class its colour.

    Unlabelled pixels have index 255, are white and transparent.
    """
    from PIL import Image

    image = Image.fromarray(mask)
    image.putpalette(_flat_palette(palette))
    out = io.BytesIO()
    image.save(out, format="PNG", transparency=bytes([255] * UNLABELLED + [0]))
    return out.getvalue()


def mask_from_png(
    body: bytes, shape: tuple[int, int], palette: Mapping[int, tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """The uint8 (H, W) mask in an 8-bit greyscale or an indexed PNG, its values checked against the palette's classes.

    Greyscale: the grey value is the class. Indexed: when every colour in use is one of the palette's, the colour says
    the class, because many programs renumber a palette on saving; else the index is the class.
    Raises `NotAPng`, `ShapeMismatch` and `UnknownMaskValues`.
    """
    _check_png_header(body, shape)
    values, colours = _open_png(body)
    if colours is not None:
        values = _values_by_colour(values, colours, palette)
    check_mask_values(values, palette)
    return values


def _check_png_header(body: bytes, shape: tuple[int, int]) -> None:
    # Read before the PNG is opened, so that a huge one is refused before a pixel is unpacked.
    if not body.startswith(_PNG_START) or len(body) < len(_PNG_START) + 13:
        raise NotAPng("it does not begin as one")
    width, height, depth, kind = struct.unpack_from(">IIBB", body, len(_PNG_START))
    if not (kind == _PNG_INDEXED or (kind == _PNG_GREYSCALE and depth == 8)):
        raise NotAPng("it is neither indexed nor 8-bit greyscale")
    if (height, width) != shape:
        raise ShapeMismatch(shape, (height, width))


def _open_png(body: bytes) -> tuple[NDArray[np.uint8], list[int] | None]:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body), formats=["PNG"]) as image:
            image.load()
            if image.mode not in ("P", "L"):
                raise NotAPng("it is neither indexed nor 8-bit greyscale")
            return np.array(image, dtype=np.uint8), image.getpalette("RGB") if image.mode == "P" else None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise NotAPng(str(error) or "it is damaged") from None


def _values_by_colour(
    indices: NDArray[np.uint8], colours: list[int], palette: Mapping[int, tuple[int, int, int]]
) -> NDArray[np.uint8]:
    import numpy as np

    value_of = {UNLABELLED_COLOUR: UNLABELLED} | {tuple(colour): value for value, colour in palette.items()}
    if len(value_of) != len(palette) + 1:
        return indices  # two classes share a colour, so a colour says nothing
    table = np.arange(256, dtype=np.uint8)
    for index in count_mask_values(indices):
        value = value_of.get(tuple(colours[3 * index : 3 * index + 3]))
        if value is None:
            return indices
        table[index] = value
    return table[indices]


def _flat_palette(palette: Mapping[int, tuple[int, int, int]]) -> list[int]:
    colours = {value: (value, value, value) for value in range(256)} | {UNLABELLED: UNLABELLED_COLOUR} | dict(palette)
    return [channel for value in range(256) for channel in colours[value]]
