"""What every reader hands over - the voxels of one file - and how they become an image or a mask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import (
    AffineMismatch,
    MaskNotIntegral,
    NonFiniteVoxel,
    NotAMask,
    PixelsNotExact,
    ShapeMismatch,
    UnknownMaskValues,
    UnsupportedDtype,
    WrongDimensions,
)
from app.formats.image import Geometry, Image3D, as_matrix, choose_axis, stack_axes, to_stack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXACT_FLOAT32_INTEGER = 2**24
# Masks saved by other programs carry rounded affines; a tenth of a voxel is beyond rounding and below a wrong grid.
_AFFINE_TOLERANCE_VOXELS = 0.1


@dataclass(frozen=True, eq=False)
class FileVoxels:
    """The stored (i, j, k) or (i, j, k, 3) voxels of a file; real value = stored * slope + intercept.

    `affine` (4, 4) takes (i, j, k) to millimetres, right-anterior-superior; `spacing` is in mm along (i, j, k). `axis`
    is the one that the format itself is cut along, where it keeps slices.
    """

    name: str
    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None
    slope: float = 1.0
    intercept: float = 0.0
    remarks: tuple[str, ...] = ()
    axis: int | None = None


def to_image(file: FileVoxels, axis: int | None = None, usual_axis: int | None = None) -> Image3D:
    """The image of a file, cut along `axis`, else as its format is, else as `choose_axis` says.

    Raises `AxisUnclear`, `NonFiniteVoxel`, `UnsupportedDtype`, `PixelsNotExact` and `UnknownAxis`.
    """
    import numpy as np

    shape = (file.voxels.shape[0], file.voxels.shape[1], file.voxels.shape[2])
    cut = file.axis if axis is None else axis
    remarks: tuple[str, ...] = ()
    if cut is None:
        cut, remarks = choose_axis(file.name, shape, file.spacing, file.affine, usual_axis)
    z, y, x = stack_axes(cut)
    check_finite(file.voxels, file.name)
    kept, exact = keep_dtype(file.voxels, file.name)
    spacing = file.spacing
    spacing_mm = None if spacing is None else (float(spacing[z]), float(spacing[y]), float(spacing[x]))
    geometry = Geometry(shape, cut, as_matrix(file.affine), spacing_mm)
    stack = np.ascontiguousarray(to_stack(kept, cut))
    return Image3D(stack, file.slope, file.intercept, geometry, exact, (*file.remarks, *remarks))


def to_mask(file: FileVoxels, geometry: Geometry, value_map: Mapping[int, int] | None = None) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask of a file, checked against the image that it belongs to.

    The mask's grid may be finer, larger or stored the other way round, as long as every voxel of the image lies on a
    voxel of the mask (within a tenth): then the mask is read there and no value is invented. `value_map` (file value
    -> canonical value) must name every value in the file; without it values stay as they are.
    Raises `ShapeMismatch`, `AffineMismatch`, `WrongDimensions` (colour), `NonFiniteVoxel`, `MaskNotIntegral` and
    `UnknownMaskValues`.
    """
    import numpy as np

    voxels = _real_values(file)
    check_finite(voxels, file.name)
    voxels = _at_image_voxels(voxels, file, geometry)
    mask = np.empty(voxels.shape, dtype=np.uint8, order="F")
    for k in range(voxels.shape[2]):
        plane = voxels[:, :, k]
        for value in _values_in(plane):
            here = plane == value
            mask[:, :, k][here] = _mask_value(value, value_map, here, k)
    return np.ascontiguousarray(to_stack(mask, geometry.axis))


def mask_values(file: FileVoxels, most: int) -> set[int]:
    """The values that occur in a mask file.

    Raises `WrongDimensions` (colour), `NonFiniteVoxel`, `MaskNotIntegral` and, for more than `most` values, `NotAMask`.
    """

    voxels = _real_values(file)
    check_finite(voxels, file.name)
    found: set[float] = set()
    for k in range(voxels.shape[2]):
        plane = voxels[:, :, k]
        for value in _values_in(plane):
            if math.floor(value) != value:
                raise MaskNotIntegral(_first(plane == value, k), value)
            found.add(value)
        if len(found) > most:
            raise NotAMask(f"{file.name} holds more than {most} different values")
    return {int(value) for value in found}


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


def _real_values(file: FileVoxels) -> NDArray[Any]:
    if file.voxels.ndim != 3:
        raise WrongDimensions(file.name, file.voxels.shape, "a mask has one channel")
    if (file.slope, file.intercept) == (1.0, 0.0):
        return file.voxels
    return file.voxels * file.slope + file.intercept


def _at_image_voxels(voxels: NDArray[Any], file: FileVoxels, geometry: Geometry) -> NDArray[Any]:
    """The mask's voxels at those of the image, by whole steps along the mask's own axes."""
    import numpy as np

    expected = np.asarray(geometry.affine)
    distance_mm, tolerance_mm = _displacement(file.affine, expected, geometry.shape)
    if voxels.shape == geometry.shape and distance_mm <= tolerance_mm:
        return voxels
    steps = np.rint(np.linalg.solve(file.affine, expected)).astype(np.int64)
    distance, tolerance = _displacement(file.affine @ steps, expected, geometry.shape)
    order = np.abs(steps[:3, :3]).argmax(axis=0)  # mask axis of each image axis
    indices = [
        steps[mask_axis, axis] * np.arange(geometry.shape[axis]) + steps[mask_axis, 3]
        for axis, mask_axis in enumerate(order)
    ]
    regular = np.count_nonzero(steps[:3, :3]) == 3 and sorted(order) == [0, 1, 2]
    within = all(
        index.min() >= 0 and index.max() < voxels.shape[mask_axis]
        for index, mask_axis in zip(indices, order, strict=True)
    )
    if regular and within and distance <= tolerance:
        return voxels.transpose(*order)[np.ix_(*indices)]
    if voxels.shape != geometry.shape:
        raise ShapeMismatch(geometry.shape, voxels.shape)
    raise AffineMismatch(distance_mm, tolerance_mm)


def _displacement(
    affine: NDArray[np.float64], expected: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[float, float]:
    """The farthest that a corner of the volume lies from where it should, and how far is taken, both in mm."""
    import numpy as np

    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.asarray(shape) - 1
    distance = float(np.linalg.norm((corners @ (affine - expected).T)[:, :3], axis=1).max())
    return distance, _AFFINE_TOLERANCE_VOXELS * float(np.linalg.norm(expected[:3, :3], axis=0).min())


def _values_in(plane: NDArray[Any]) -> list[float]:
    import numpy as np

    low, high = plane.min(), plane.max()
    if plane.dtype.kind not in "iu" or int(high) - int(low) > 65535:
        found: list[float] = np.unique(plane).tolist()
        return found
    # Counting is ten times as fast as the sorting in `unique`, and a large scan has a thousand planes.
    offset = int(low)
    counts = np.bincount((plane.astype(np.int64) - offset).reshape(-1))
    return [value + offset for value in np.flatnonzero(counts).tolist()]


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
