"""The header of a NIfTI file, judged before a voxel is read."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from app.errors import ImageTooLarge, NotAnImage, TruncatedImage, UnsupportedDtype, WrongDimensions
from app.formats.nibabel_alone import import_nibabel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_VOXEL_OFFSET = 64 * 1024**2  # header extensions in front of the voxels; real ones are a few kilobytes
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header says of the voxels: shape (i, j, k), how they are stored, and where they lie."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]  # (4, 4), voxel -> mm
    spacing: tuple[float, float, float] | None  # mm along (i, j, k)


def read_header(stream: BinaryIO | gzip.GzipFile, name: str, max_bytes: int, *, first_frame: bool) -> NiftiHeader:
    """The header at the beginning of a stream, which then stands at the first voxel.

    Raises `NotAnImage`, `ImageTooLarge`, `TruncatedImage`, `WrongDimensions` and `UnsupportedDtype`.
    """
    nibabel = import_nibabel()
    block = stream.read(348)
    if len(block) == 348 and block[344:348] == b"n+1\0" and 348 in _both_orders(block):
        header = nibabel.Nifti1Header(block, check=False)
    elif len(block) == 348 and block[4:8] == b"n+2\0" and 540 in _both_orders(block):
        block += stream.read(540 - 348)
        if len(block) != 540:
            raise NotAnImage(name, "its header is cut short")
        header = nibabel.Nifti2Header(block, check=False)
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
    header_error = import_nibabel().spatialimages.HeaderDataError
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (header_error, KeyError):
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


def _placed(header: Any, shape: tuple[int, int, int], dtype: np.dtype[Any], offset: int, name: str) -> NiftiHeader:
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
    return NiftiHeader(shape, dtype, offset, slope, intercept, affine, spacing)
