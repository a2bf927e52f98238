"""NIfTI files <-> images and masks. The header is judged before a voxel is read."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from app.errors import ImageTooLarge, NotAnImage, ShapeMismatch, TruncatedImage, UnsupportedDtype, WrongDimensions
from app.formats.image import MAX_IMAGE_BYTES, Geometry, Image3D, from_stack, stack_axes
from app.formats.voxels import FileVoxels, to_image, to_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DISAGREES = "its voxel size is not that of its affine: distances are measured by the voxel size, the affine is kept"
_FIRST_VOXEL = 352
_CHUNK_BYTES = 4 * 1024**2
_RGB = [("R", "u1"), ("G", "u1"), ("B", "u1")]
_GZIP_START = b"\x1f\x8b"
_MAX_VOXEL_OFFSET = 64 * 1024**2  # header extensions in front of the voxels; real ones are a few kilobytes
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True, eq=False)
class _Header:
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]  # (4, 4), voxel -> mm
    spacing: tuple[float, float, float] | None  # mm along (i, j, k)


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
    header, voxels = _read(source, name, max_bytes, first_frame=first_frame)
    remarks = () if _agrees(header) else (_DISAGREES,)
    return FileVoxels(name, voxels, header.affine, header.spacing, header.slope, header.intercept, remarks)


def _agrees(header: _Header) -> bool:
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
    import nibabel as nib
    import numpy as np

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


def _read(
    source: bytes | Path | BinaryIO, name: str, max_bytes: int, *, first_frame: bool
) -> tuple[_Header, NDArray[Any]]:
    try:
        with _opened(source) as raw:
            zipped = raw.read(2) == _GZIP_START
            raw.seek(0)
            if not zipped:
                return _read_stream(raw, name, max_bytes, first_frame=first_frame)
            with gzip.GzipFile(fileobj=raw, mode="rb") as unzipped:
                return _read_stream(unzipped, name, max_bytes, first_frame=first_frame)
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
) -> tuple[_Header, NDArray[Any]]:
    import numpy as np

    header = _read_header(stream, name, max_bytes, first_frame=first_frame)
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


def _read_header(stream: BinaryIO | gzip.GzipFile, name: str, max_bytes: int, *, first_frame: bool) -> _Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    block = stream.read(348)
    if len(block) == 348 and block[344:348] == b"n+1\0" and 348 in _both_orders(block):
        header = Nifti1Header(block, check=False)
    elif len(block) == 348 and block[4:8] == b"n+2\0" and 540 in _both_orders(block):
        block += stream.read(540 - 348)
        if len(block) != 540:
            raise NotAnImage(name, "its header is cut short")
        header = Nifti2Header(block, check=False)
    elif block[344:348] == b"ni1\0":
        raise NotAnImage(name, "it is the header of a two-file NIfTI; give a single .nii or .nii.gz file")
    else:
        raise NotAnImage(name, "it has no NIfTI header")
    shape = _shape(header, name, first_frame=first_frame)
    dtype = _dtype(header, name)
    size = shape[0] * shape[1] * shape[2] * dtype.itemsize
    if size > max_bytes:
        raise ImageTooLarge(name, size, max_bytes)
    offset = _voxel_offset(header, len(block), name)
    skipped = stream.read(offset - len(block))
    if len(skipped) != offset - len(block):
        raise TruncatedImage(name, size, 0)
    return _placed(header, shape, dtype, offset, name)


def _both_orders(block: bytes) -> tuple[int, int]:
    return struct.unpack_from("<i", block)[0], struct.unpack_from(">i", block)[0]


def _shape(header: Any, name: str, *, first_frame: bool) -> tuple[int, int, int]:
    dimensions = [int(length) for length in header["dim"]]
    count, lengths = dimensions[0], dimensions[1:]
    if not 1 <= count <= 7 or any(length < 1 for length in lengths[:count]):
        raise NotAnImage(name, f"its header gives the dimensions {dimensions}")
    shape = lengths[:count]
    if count == 2:
        return shape[0], shape[1], 1
    if count < 2:
        raise WrongDimensions(name, shape, "a 3-D volume is needed")
    for frames in shape[3:]:
        if frames != 1 and not first_frame:
            raise WrongDimensions(name, shape, f"it holds {frames} frames; give one 3-D volume a file")
    return shape[0], shape[1], shape[2]


def _dtype(header: Any, name: str) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise UnsupportedDtype(name, f"NIfTI code {int(header['datatype'])}") from None
    is_rgb = dtype.names is not None and len(dtype.names) == 3
    if not is_rgb and dtype.kind not in "biuf":
        raise UnsupportedDtype(name, dtype.name if dtype.names is None else "RGBA")
    if dtype.itemsize == 0:
        raise UnsupportedDtype(name, f"NIfTI code {int(header['datatype'])}")
    return dtype


def _voxel_offset(header: Any, header_bytes: int, name: str) -> int:
    import numpy as np

    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or not 0 <= offset <= _MAX_VOXEL_OFFSET:
        raise NotAnImage(name, f"its header puts the voxels at byte {offset}")
    # Some writers leave 0 there; the voxels cannot begin before the four bytes that follow the header.
    return max(int(offset), header_bytes + 4)


def _placed(header: Any, shape: tuple[int, int, int], dtype: np.dtype[Any], offset: int, name: str) -> _Header:
    import numpy as np

    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0  # the standard's way to say "not scaled"
    if not np.isfinite(intercept):
        raise NotAnImage(name, f"its header gives the intercept {intercept}")
    try:
        with np.errstate(all="ignore"):
            affine = np.array(header.get_best_affine(), dtype=np.float64)
            scale = _MILLIMETRES[header.get_xyzt_units()[0]]
            affine[:3] *= scale
            determinant = float(np.linalg.det(affine[:3, :3]))
    except (KeyError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise NotAnImage(name, f"its header gives no usable position ({error})") from None
    if not np.isfinite(affine).all() or not np.isfinite(determinant) or determinant == 0:
        raise NotAnImage(name, "its header gives no usable position (the affine is singular)")
    lengths = [abs(float(length)) * scale for length in header["pixdim"][1:4]]
    usable = all(np.isfinite(length) and length > 0 for length in lengths)
    spacing = (lengths[0], lengths[1], lengths[2]) if usable else None
    return _Header(shape, dtype, offset, slope, intercept, affine, spacing)
