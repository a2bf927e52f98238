"""What every format is read into: a stack of slices, its dtype kept, and where it lies in space.

One convention for all formats. A file has array axes (i, j, k), and its affine takes (i, j, k) to millimetres. Slices
are cut along one of these axes; of the two others the lower one runs along a row of the slice (its columns), the
higher one down its rows. Cut along the last axis, slice z of the stack is voxels[:, :, z] transposed, which is how a
radiologist expects axial MR and CT. No axis is ever flipped, so going back is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import AxisUnclear, UnknownAxis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_IMAGE_BYTES = 4 * 1024**3  # announced by a header, before a voxel is read

Matrix = tuple[tuple[float, ...], ...]

# Scans whose slices are at least this much thicker than their pixels are wide are taken to be cut along that axis.
_ANISOTROPY = 1.5
# Lengths that differ by no more are those of square pixels; a slice's must differ by more than this from theirs.
_ALIKE, _APART = 1.01, 1.05
_UNTOLD = "its spacing does not tell along which axis slices were taken"
_VIEWS = ("sagittal", "coronal", "axial")


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

    `exact` is False only where 64-bit floats had to be rounded to float32; `remarks` are sentences about the file that
    a person should know (slices that are missing, a tilted gantry).
    """

    array: NDArray[Any]
    slope: float
    intercept: float
    geometry: Geometry
    exact: bool = True
    remarks: tuple[str, ...] = ()


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


def choose_axis(
    name: str,
    shape: Sequence[int],
    spacing: Sequence[float] | None,
    affine: NDArray[np.float64],
    usual: int | None = None,
) -> tuple[int, tuple[str, ...]]:
    """The axis to cut along when nobody says, with a remark where it is only the `usual` one of a data set's layout.

    Raises `AxisUnclear` where neither the file nor its layout tells.
    """
    told = told_axis(shape, spacing)
    if told is not None:
        return told, ()
    if usual is None:
        raise AxisUnclear(name, shape, spacing, _views(affine))
    return usual, (f"{_UNTOLD}: cut along axis {usual}, as its layout is; `axis` chooses another",)


def told_axis(shape: Sequence[int], spacing: Sequence[float] | None) -> int | None:
    """The axis along which the slices of a scan were taken, as far as its grid tells; None where it does not.

    It is the one of length 1; else the one along which voxels are half as long again as along any other; else the one
    whose spacing stands apart from those of the two others while these are alike, for pixels are square.
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    if spacing is None:
        return None
    fine, middle, coarse = sorted(range(3), key=spacing.__getitem__)
    if spacing[coarse] >= _ANISOTROPY * spacing[middle]:
        return coarse
    for axis, first, second in ((coarse, fine, middle), (fine, middle, coarse)):
        apart = max(spacing[axis], spacing[first]) / min(spacing[axis], spacing[first])
        if spacing[second] <= _ALIKE * spacing[first] and apart >= _APART:
            return axis
    return None


def _views(affine: NDArray[np.float64]) -> tuple[str, str, str]:
    """What slices across each axis of a file show: "axial" ones lie across the body."""
    import numpy as np

    along = np.abs(affine[:3, :3]).argmax(axis=0)
    return _VIEWS[along[0]], _VIEWS[along[1]], _VIEWS[along[2]]


def as_matrix(affine: NDArray[np.float64]) -> Matrix:
    """The 4 x 4 affine as plain numbers, which compare, hash and go into a row."""
    return tuple(tuple(float(entry) for entry in row) for row in affine)
