"""NIfTI files <-> images and masks. The header is judged before a voxel is read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from app.errors import NotAnImage, ShapeMismatch, TruncatedImage
from app.formats.image import MAX_IMAGE_BYTES, Geometry, Image3D, from_stack, stack_axes
from app.formats.nibabel_alone import import_nibabel
from app.formats.nifti_header import NiftiHeader, read_header
from app.formats.voxels import FileVoxels, to_image, to_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DISAGREES = "its voxel size is not that of its affine: distances are measured by the voxel size, the affine is kept"
_FIRST_VOXEL = 352
_CHUNK_BYTES = 4 * 1024**2
_RGB = [("R", "u1"), ("G", "u1"), ("B", "u1")]
_GZIP_START = b"\x1f\x8b"
_Read = TypeVar("_Read")


def read_nifti(
    source: bytes | Path, *, name: str = "", axis: int | None = None, max_bytes: int = MAX_IMAGE_BYTES
) -> Image3D:
    """The image in a NIfTI-1 or NIfTI-2 file, plain or gzipped, given as its bytes or its path.

    Stored values are kept, and the header's slope and intercept beside them. A 4-D file of one frame is taken as 3-D;
    RGB files give three channels. `axis` is the one to cut along (see `choose_axis` for the default).
    Raises `NotAnImage`, `ImageTooLarge`, `TruncatedImage`, `WrongDimensions`, `NonFiniteVoxel`, `UnsupportedDtype`,
    `PixelsNotExact` and `UnknownAxis`; nothing else, whatever the bytes are.
    """
    return to_image(load_nifti(source, name=name, max_bytes=max_bytes), axis)


def load_nifti(
    source: bytes | Path | BinaryIO, *, name: str = "", max_bytes: int = MAX_IMAGE_BYTES, first_frame: bool = False
) -> FileVoxels:
    """The stored voxels of a NIfTI file and where they lie; raises as `read_nifti` does for the file itself.

    A 2-D image is a volume of one slice. Of several frames the first is taken where `first_frame` says so, else the
    file is refused.
    """
    name = name or (source.name if isinstance(source, Path) else "The file")
    header, voxels = _with_stream(
        source, name, lambda stream: _read_stream(stream, name, max_bytes, first_frame=first_frame)
    )
    remarks = () if _agrees(header) else (_DISAGREES,)
    return FileVoxels(name, voxels, header.affine, header.spacing, header.slope, header.intercept, remarks)


def load_nifti_header(path: Path, *, max_bytes: int = MAX_IMAGE_BYTES) -> NiftiHeader:
    """What the header of a NIfTI file says, before a voxel is read; raises as `read_nifti` does for a bad header."""
    return _with_stream(path, path.name, lambda stream: read_header(stream, path.name, max_bytes, first_frame=False))


def _agrees(header: NiftiHeader) -> bool:
    import numpy as np

    if header.spacing is None:
        return True
    return np.allclose(np.linalg.norm(header.affine[:3, :3], axis=0), header.spacing, rtol=0.01)


def read_nifti_mask(
    source: bytes | Path,
    geometry: Geometry,
    *,
    name: str = "",
    value_map: Mapping[int, int] | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask in a NIfTI file, on the very grid of its image: of a larger one, labels would be lost.

    `value_map` takes the file's values to canonical ones and must then name them all. Raises what `load_nifti` and
    `to_mask` raise.
    """
    file = load_nifti(source, name=name, max_bytes=max_bytes)
    if file.voxels.shape != geometry.shape:
        raise ShapeMismatch(geometry.shape, file.voxels.shape)
    return to_mask(file, geometry, value_map)


def write_nifti(
    stack: NDArray[Any],
    geometry: Geometry,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    admit_no_spacing: bool = False,
    compress: bool = True,
) -> bytes:
    """The bytes of a NIfTI-1 file that holds a (Z, H, W) stack, or a uint8 (Z, H, W, 3) one, in its original geometry.

    Shape, affine and spacing are those of the file that `geometry` was read from; equal input gives equal bytes.
    Where there is no spacing 1 is written, which other software needs, unless `admit_no_spacing`: then 0, from which
    `read_nifti` learns again that there is none. Raises `ShapeMismatch`.
    """
    content = b"".join(
        nifti_chunks(stack, geometry, slope=slope, intercept=intercept, admit_no_spacing=admit_no_spacing)
    )
    return gzip.compress(content, compresslevel=6, mtime=0) if compress else content


def nifti_chunks(
    stack: NDArray[Any],
    geometry: Geometry,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    admit_no_spacing: bool = False,
) -> Iterator[bytes]:
    """The bytes of `write_nifti`, not compressed, a plane at a time, so that no second volume stands in memory.

    Raises `ShapeMismatch` at the first chunk.
    """
    import numpy as np

    nib = import_nibabel()

    if stack.shape[:3] != geometry.stack_shape or stack.shape[3:] not in ((), (3,)):
        raise ShapeMismatch(geometry.stack_shape, stack.shape)
    voxels = from_stack(stack, geometry.axis)
    colour = voxels.ndim == 4
    # Only the header is nibabel's work; it needs no voxel but the shape and type of them.
    dtype = np.dtype(_RGB) if colour else voxels.dtype.newbyteorder("<")
    image = nib.Nifti1Image(np.broadcast_to(np.zeros((), dtype), voxels.shape[:3]), np.asarray(geometry.affine))
    _place(image, geometry, np.asarray(geometry.affine, dtype=np.float64))
    header = image.header
    header["vox_offset"], header["magic"] = _FIRST_VOXEL, b"n+1"
    header["scl_slope"], header["scl_inter"] = slope, intercept
    if geometry.spacing_mm is None and admit_no_spacing:
        header["pixdim"][1:4] = 0
    yield header.binaryblock + b"\0\0\0\0"
    for k in range(voxels.shape[2]):
        plane = voxels[:, :, k]
        if colour:
            yield plane.astype(np.uint8).transpose(1, 0, 2).tobytes()
        else:
            yield plane.astype(dtype, copy=False).tobytes(order="F")


def _place(image: Any, geometry: Geometry, affine: NDArray[np.float64]) -> None:
    import numpy as np

    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    zooms = image.header.get_zooms() if geometry.spacing_mm is None else _file_spacing(geometry)
    image.header.set_zooms(zooms)
    # A qform only where it says the same: it takes its scale from the spacing and knows no shear.
    says_the_same = np.allclose(zooms, np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-4)
    image.set_qform(affine if says_the_same else None, code=1 if says_the_same else 0)
    if says_the_same and not np.allclose(image.get_qform(), affine, rtol=1e-4, atol=1e-4):
        image.set_qform(None, code=0)
    image.header.set_zooms(zooms)


def _file_spacing(geometry: Geometry) -> tuple[float, ...]:
    import numpy as np

    spacing = np.empty(3)
    spacing[list(stack_axes(geometry.axis))] = geometry.spacing_mm
    return tuple(spacing.tolist())


def _with_stream(
    source: bytes | Path | BinaryIO, name: str, read: Callable[[BinaryIO | gzip.GzipFile], _Read]
) -> _Read:
    """What `read` makes of the file's plain bytes."""
    try:
        with _opened(source) as raw:
            zipped = raw.read(2) == _GZIP_START
            raw.seek(0)
            if not zipped:
                return read(raw)
            with gzip.GzipFile(fileobj=raw, mode="rb") as unzipped:
                return read(unzipped)
    except EOFError:
        raise NotAnImage(name, "its gzip stream ends too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise NotAnImage(name, f"its gzip stream is damaged ({error})") from None
    except OSError as error:
        raise NotAnImage(name, error.strerror or str(error)) from None


def _opened(source: bytes | Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def _read_stream(
    stream: BinaryIO | gzip.GzipFile, name: str, max_bytes: int, *, first_frame: bool
) -> tuple[NiftiHeader, NDArray[Any]]:
    import numpy as np

    header = read_header(stream, name, max_bytes, first_frame=first_frame)
    size = int(np.prod(header.shape, dtype=np.int64)) * header.dtype.itemsize
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size and (chunk := stream.read(min(size - filled, _CHUNK_BYTES))):
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    if filled < size:
        raise TruncatedImage(name, size, filled)
    stream.read(1)  # to the end of the gzip member, where its checksum is compared
    voxels = np.frombuffer(content, dtype=header.dtype).reshape(header.shape, order="F")
    if header.dtype.names is not None:
        # (i, j, k) of three named bytes -> (i, j, k, 3)
        channels = np.frombuffer(content, dtype=np.uint8).reshape((3, *header.shape), order="F")
        return header, channels.transpose(1, 2, 3, 0)
    return header, voxels
