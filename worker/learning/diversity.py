"""How alike the slices of a group are: what a group-contrastive encoder is asked to learn from."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worker.learning.shapes import SlicePool, as_unit_floats


def measure_diversity(pool: SlicePool) -> dict[str, float | None]:
    """Give the mean absolute difference of pixels (0 to 1) over all pairs of slices that share a group.

    Keys: "all", "patient", "volume" and "slice" (one position apart in a volume); None where no pair is. Source: the
    group diversity of Vepa et al., NeurIPS 2024 (ACDC there: .217, .159, .166, .115), pairs of all groups pooled. Cost:
    one sort along the slices, O(N log N) a pixel; of pairs none is ever formed.
    """
    images = as_unit_floats(pool.images).flatten(1).cpu().numpy()
    patients, volumes, z = (_codes(ids) for ids in (pool.patient_ids, pool.volume_ids, pool.z))
    return {
        "all": _within(images, np.zeros(len(images), dtype=np.int64)),
        "patient": _within(images, patients),
        "volume": _within(images, volumes),
        "slice": _between_neighbours(images, volumes, z),
    }


def _within(images: npt.NDArray[np.float32], groups: npt.NDArray[np.int64]) -> float | None:
    total, pairs = 0.0, 0
    for group in np.unique(groups):
        ranked = np.sort(images[groups == group], axis=0)
        count = len(ranked)
        # In rising order the value at place i is the larger of i pairs and the smaller of count - 1 - i.
        signs = 2 * np.arange(count, dtype=np.float64) - (count - 1)
        total += float((signs @ ranked).mean())
        pairs += count * (count - 1) // 2
    return total / pairs if pairs else None


def _between_neighbours(
    images: npt.NDArray[np.float32], volumes: npt.NDArray[np.int64], z: npt.NDArray[np.int64]
) -> float | None:
    order = np.lexsort((z, volumes))
    adjacent = np.flatnonzero((np.diff(volumes[order]) == 0) & (np.diff(z[order]) == 1))
    if len(adjacent) == 0:
        return None
    differences = [np.abs(images[order[place]] - images[order[place + 1]]).mean(dtype=np.float64) for place in adjacent]
    return float(np.mean(differences))


def _codes(ids: Tensor) -> npt.NDArray[np.int64]:
    codes: npt.NDArray[np.int64] = ids.cpu().numpy()
    return codes
