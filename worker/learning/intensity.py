"""How intensities become numbers that a network sees, and how planes change their size."""

import numpy as np
import numpy.typing as npt

from worker.learning.errors import NonFiniteError, ShapeError

TOP_PERCENTILE = 99.0  # WSL4MIS preprocessing of ACDC: only the bright end is clipped


def normalise_volume(volume: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Give a volume as float32 in [0, 1], from (Z, H, W) or (Z, H, W, 3) of any number type.

    The top is clipped at the 99th percentile of the whole volume, then minimum and maximum become 0 and 1; colour of
    type uint8 is divided by 255 instead, so that frames of one film stay comparable. A constant volume becomes zeros.
    Where more than 99 % of the voxels share the minimum (a mask-like or nearly empty volume) the maximum is the top,
    because clipping would leave nothing. Raises ShapeError, and NonFiniteError naming the first NaN or infinity.
    """
    if volume.ndim not in {3, 4} or (volume.ndim == 4 and volume.shape[-1] != 3):
        raise ShapeError("voxels", "(Z, H, W) or (Z, H, W, 3)", volume.shape)
    if volume.ndim == 4 and volume.dtype == np.uint8:
        return volume.astype(np.float32) / np.float32(255)
    values = volume.astype(np.float64)  # float32 cannot hold every int32, and the percentile interpolates
    finite = np.isfinite(values)
    if not finite.all():
        raise NonFiniteError("voxels", [int(axis[0]) for axis in np.nonzero(~finite)])
    if values.size == 0:
        return values.astype(np.float32)
    bottom, top = float(values.min()), float(np.percentile(values, TOP_PERCENTILE))
    if top <= bottom:
        top = float(values.max())
    if top <= bottom:
        return np.zeros(volume.shape, dtype=np.float32)
    scaled = (np.minimum(values, top) - bottom) / (top - bottom)
    return scaled.astype(np.float32)


def resize_nearest(planes: npt.NDArray[np.generic], size: tuple[int, int]) -> npt.NDArray[np.generic]:
    """Give (..., H, W) planes at `size`, each pixel the nearest source pixel with corners aligned.

    The same as `scipy.ndimage.zoom(order=0, mode="nearest")` bit for bit; the published preprocessing has it for
    image and label alike. Raises ShapeError for planes without extent.
    """
    if planes.ndim < 2 or min(*planes.shape[-2:], *size) < 1:
        raise ShapeError("planes", "(..., H, W) with H and W at least 1", planes.shape)
    rows = nearest_sources(planes.shape[-2], size[0])
    columns = nearest_sources(planes.shape[-1], size[1])
    return planes[..., rows[:, None], columns]


def nearest_sources(source: int, target: int) -> npt.NDArray[np.int64]:
    """Give, for each of `target` positions along an axis, the index of its nearest one among `source` positions.

    The step is rounded before it is multiplied, as scipy does, or ties fall differently. The last position can then
    lie a rounding error beyond the edge; there scipy's default mode writes a blank line, and the edge is taken here.
    """
    if target == 1:
        return np.zeros(1, dtype=np.int64)
    step = (source - 1) / (target - 1)
    sources: npt.NDArray[np.int64] = np.floor(np.arange(target) * step + 0.5).astype(np.int64)
    return np.minimum(sources, source - 1)
