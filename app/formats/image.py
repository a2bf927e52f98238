"""What every format is read into: a stack of slices, its dtype kept, and where it lies in space.

One convention for all formats. A file has array axes (i, j, k), and its affine takes (i, j, k) to millimetres. Slices
are cut along one of these axes; of the two others the lower one runs along a row of the slice (its columns), the
higher one down its rows. Cut along the last axis, slice z of the stack is voxels[:, :, z] transposed, which is how a
radiologist expects axial MR and CT. No axis is ever flipped, so going back is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import (
    AffineMismatch,
    MaskNotIntegral,
    NonFiniteVoxel,
    NotAMask,
    PixelsNotExact,
    ShapeMismatch,
    UnknownAxis,
    UnknownMaskValues,
    UnsupportedDtype,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_IMAGE_BYTES = 4 * 1024**3  # announced by a header, before a voxel is read

Matrix = tuple[tuple[float, ...], ...]

# Scans whose slices are at least this much thicker than their pixels are wide are taken to be cut along that axis.
_ANISOTROPY = 1.5
_EXACT_FLOAT32_INTEGER = 2**24
# Masks saved by other programs carry rounded affines; a tenth of a voxel is beyond rounding and below a wrong grid.
_AFFINE_TOLERANCE_VOXELS = 0.1


@dataclass(frozen=True)
class Geometry:
    """Where a stack lies: shape (i, j, k) of the file, the axis it is cut along, affine of the file's axes in mm.

    `spacing_mm` is (z, y, x) of the stack, or None where the file does not say; it need not follow from the affine
    (ACDC's affines have unit scale), so both are kept.
    """

    shape: tuple[int, int, int]
    axis: int
    affine: Matrix
    spacing_mm: tuple[float, float, float] | None

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """(Z, H, W) of the stack."""
        z, y, x = stack_axes(self.axis)
        return self.shape[z], self.shape[y], self.shape[x]


@dataclass(frozen=True, eq=False)
class Image3D:
    """A scan as (Z, H, W) or (Z, H, W, 3), in uint8, int16, uint16 or float32; real value = stored * slope + intercept.

    `exact` is False only where 64-bit floats had to be rounded to float32.
    """

    array: NDArray[Any]
    slope: float
    intercept: float
    geometry: Geometry
    exact: bool = True


def stack_axes(axis: int) -> tuple[int, int, int]:
    """Which axis of the file is z, y and x of the stack; raises `UnknownAxis`."""
    if axis not in (0, 1, 2):
        raise UnknownAxis(axis)
    low, high = (other for other in range(3) if other != axis)
    return axis, high, low


def to_stack(voxels: NDArray[Any], axis: int) -> NDArray[Any]:
    """A view of (i, j, k) or (i, j, k, 3) voxels as (Z, H, W) or (Z, H, W, 3)."""
    return voxels.transpose(*stack_axes(axis), *range(3, voxels.ndim))


def from_stack(stack: NDArray[Any], axis: int) -> NDArray[Any]:
    """A view of a (Z, H, W) or (Z, H, W, 3) stack in the file's axes; undoes `to_stack`."""
    z, y, x = stack_axes(axis)
    back = sorted(range(3), key=(z, y, x).__getitem__)
    return stack.transpose(*back, *range(3, stack.ndim))


def choose_axis(shape: Sequence[int], spacing: Sequence[float] | None) -> int:
    """The axis to cut along when nobody says: the one of length 1, else the clearly coarsest one, else the last."""
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    if spacing is not None:
        *_, second, first = sorted(range(3), key=spacing.__getitem__)
        if spacing[first] >= _ANISOTROPY * spacing[second]:
            return first
    return 2


def image_from_voxels(
    voxels: NDArray[Any],
    *,
    name: str,
    affine: NDArray[np.float64],
    spacing: Sequence[float] | None,
    axis: int | None = None,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> Image3D:
    """The image of a file's (i, j, k) or (i, j, k, 3) voxels; `spacing` is in mm along (i, j, k).

    Raises `NonFiniteVoxel`, `UnsupportedDtype`, `PixelsNotExact` and `UnknownAxis`.
    """
    import numpy as np

    check_finite(voxels, name)
    kept, exact = keep_dtype(voxels, name)
    shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    cut = choose_axis(shape, spacing) if axis is None else axis
    z, y, x = stack_axes(cut)
    spacing_mm = None if spacing is None else (float(spacing[z]), float(spacing[y]), float(spacing[x]))
    geometry = Geometry(shape, cut, as_matrix(affine), spacing_mm)
    return Image3D(np.ascontiguousarray(to_stack(kept, cut)), slope, intercept, geometry, exact)


def check_finite(voxels: NDArray[Any], name: str) -> None:
    """Raise `NonFiniteVoxel` for the first NaN or infinity, looked for along the last of the three axes."""
    import numpy as np

    if voxels.dtype.kind not in "fc":
        return
    for k in range(voxels.shape[2]):
        finite = np.isfinite(voxels[:, :, k])
        if not finite.all():
            i, j, *channel = (int(position) for position in np.argwhere(~finite)[0])
            raise NonFiniteVoxel(name, (i, j, k, *channel), float(np.real(voxels[(i, j, k, *channel)])))


def keep_dtype(voxels: NDArray[Any], name: str) -> tuple[NDArray[Any], bool]:
    """The voxels in their own dtype, if a pack keeps it, else in the nearest one that does; and whether that is exact.

    uint8, int16, uint16 and float32 stay (in native byte order). Other integers, and 64-bit floats that are all whole
    numbers, become the first of uint8, int16, uint16, float32 that holds them exactly; an integer that none holds is
    refused (`PixelsNotExact`), for such numbers are ids or damage, not intensities. Other floats become float32,
    rounded where they must be (a relative error of 6e-8; the file itself is kept); beyond float32's range they are
    refused. Anything else raises `UnsupportedDtype`.
    """
    import numpy as np

    if voxels.dtype.name in ("uint8", "int16", "uint16", "float32"):
        return voxels.astype(voxels.dtype.newbyteorder("="), copy=False), True
    if voxels.dtype.kind in "biu":
        return _narrow_integers(voxels, name), True
    if voxels.dtype.kind != "f":
        raise UnsupportedDtype(name, voxels.dtype.name)
    if voxels.dtype.itemsize < 4:
        return voxels.astype(np.float32), True
    if np.array_equal(np.rint(voxels), voxels) and np.abs(voxels).max(initial=0) <= _EXACT_FLOAT32_INTEGER:
        return _narrow_integers(voxels, name), True
    _check_range(voxels, float(np.finfo(np.float32).max), name)
    rounded = voxels.astype(np.float32)
    return rounded, bool(np.array_equal(rounded, voxels))


def mask_from_voxels(
    voxels: NDArray[Any],
    geometry: Geometry,
    *,
    name: str,
    affine: NDArray[np.float64] | None = None,
    value_map: Mapping[int, int] | None = None,
) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask of a file's (i, j, k) voxels, checked against the image that it belongs to.

    `value_map` (file value -> canonical value) must then name every value in the file; without it values stay as they
    are. Raises `ShapeMismatch`, `AffineMismatch` (a corner of the volume lies more than a tenth of a voxel away;
    not checked where `affine` is None), `NonFiniteVoxel`, `MaskNotIntegral` and `UnknownMaskValues`.
    """
    import numpy as np

    if voxels.shape != geometry.shape:
        raise ShapeMismatch(geometry.shape, voxels.shape)
    if affine is not None:
        _check_affine(affine, geometry)
    check_finite(voxels, name)
    mask = np.empty(voxels.shape, dtype=np.uint8, order="F")
    for k in range(voxels.shape[2]):
        plane = voxels[:, :, k]
        for value in np.unique(plane).tolist():
            here = plane == value
            mask[:, :, k][here] = _mask_value(value, value_map, here, k)
    return np.ascontiguousarray(to_stack(mask, geometry.axis))


def mask_values(voxels: NDArray[Any], *, name: str, most: int) -> set[int]:
    """The values that occur in the (i, j, k) voxels of a mask file.

    Raises `NonFiniteVoxel`, `MaskNotIntegral` and, for more than `most` different ones, `NotAMask`.
    """
    import numpy as np

    check_finite(voxels, name)
    found: set[float] = set()
    for k in range(voxels.shape[2]):
        plane = voxels[:, :, k]
        for value in np.unique(plane).tolist():
            if math.floor(value) != value:
                raise MaskNotIntegral(_first(plane == value, k), value)
            found.add(value)
        if len(found) > most:
            raise NotAMask(f"{name} holds more than {most} different values")
    return {int(value) for value in found}


def as_matrix(affine: NDArray[np.float64]) -> Matrix:
    """The 4 x 4 affine as plain numbers, which compare, hash and go into a row."""
    return tuple(tuple(float(entry) for entry in row) for row in affine)


def _narrow_integers(voxels: NDArray[Any], name: str) -> NDArray[Any]:
    import numpy as np

    low, high = int(voxels.min()), int(voxels.max())
    for dtype in (np.uint8, np.int16, np.uint16):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return voxels.astype(dtype)
    _check_range(voxels, _EXACT_FLOAT32_INTEGER, name)
    return voxels.astype(np.float32)


def _check_range(voxels: NDArray[Any], largest: float, name: str) -> None:
    import numpy as np

    beyond = (voxels > largest) | (voxels < -largest)
    if beyond.any():
        index = tuple(int(position) for position in np.argwhere(beyond)[0])
        raise PixelsNotExact(name, voxels.dtype.name, index, voxels[index].item())


def _check_affine(affine: NDArray[np.float64], geometry: Geometry) -> None:
    import numpy as np

    expected = np.asarray(geometry.affine)
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.asarray(geometry.shape) - 1
    distance = float(np.linalg.norm((corners @ (affine - expected).T)[:, :3], axis=1).max())
    tolerance = _AFFINE_TOLERANCE_VOXELS * float(np.linalg.norm(expected[:3, :3], axis=0).min())
    if not distance <= tolerance:
        raise AffineMismatch(distance, tolerance)


def _mask_value(value: float, value_map: Mapping[int, int] | None, here: NDArray[np.bool_], k: int) -> int:
    whole = math.floor(value)
    if whole != value or (value_map is None and not 0 <= whole <= 255):
        raise MaskNotIntegral(_first(here, k), value)
    if value_map is None:
        return whole
    if whole not in value_map:
        raise UnknownMaskValues([whole], value_map)
    return value_map[whole]


def _first(here: NDArray[np.bool_], k: int) -> tuple[int, int, int]:
    import numpy as np

    i, j = (int(position) for position in np.argwhere(here)[0])
    return i, j, k
