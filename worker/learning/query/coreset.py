"""K-Center Greedy: pick the slice farthest from everything annotated, again and again.

Source: Sener and Savarese, ICLR 2018, Algorithm 1; used on encoder features by Vepa et al., NeurIPS 2024, Section 3.3.
The greedy cover radius is at most twice the best possible one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.learning.errors import BudgetError, NothingToPickError, ShapeError
from worker.learning.query.pool import Features, Flags, Picks, refuse_non_finite

# A squared distance below this part of the two squared norms is rounding noise of float32: the points are duplicates.
NOISE = np.float32(1e-6)


@dataclass(frozen=True)
class CarriedDistances:
    """For each of N slices the squared distance to its nearest centre, kept from round to round."""

    squared: Features  # (N,) infinite while there is no centre
    nearest: npt.NDArray[np.int64]  # (N,) pool index of that centre, -1 while there is none
    centres: Flags  # (N,) the centres seen so far


class _Geometry:
    """Squared Euclidean distances from one slice to all, one float32 pass over the features a centre."""

    def __init__(self, features: Features) -> None:
        # Moved so that the first slice is the origin: a large common offset would cancel badly in float32, and unlike
        # the mean this keeps whole numbers whole, so ties stay exact.
        self.points = np.ascontiguousarray(features - features[:1], dtype=np.float32)
        self.squared_norms = np.einsum("nd,nd->n", self.points, self.points)

    def squared_distances(self, centre: int) -> Features:
        sums = self.squared_norms + self.squared_norms[centre]
        # Not `@`: BLAS shares so short a product among threads that spin, which cost ten times as much on a busy
        # machine. This one keeps to the thread it is on.
        squared: Features = sums - 2 * np.einsum("nd,d->n", self.points, self.points[centre])
        squared[squared <= NOISE * sums] = 0
        return squared


def k_center_greedy(
    features: npt.NDArray[np.floating],
    annotated: Flags,
    available: Flags,
    budget: int,
    generator: np.random.Generator,
    carried: CarriedDistances | None = None,
) -> Picks:
    """Pick up to `budget` available slices of the (N, D) features, each farthest from all centres before it.

    Centres are the annotated slices and the picks so far; distance is Euclidean in float32. With no centre at all the
    first pick is drawn from `generator`. Ties go to the lowest index; no slice is picked twice, duplicates included. A
    budget beyond what is available picks everything. `carried` spares measuring the centres it has seen and changes no
    pick. Raises BudgetError, NothingToPickError, ShapeError, NonFiniteError.
    """
    if budget < 1:
        raise BudgetError(budget)
    if not available.any():
        raise NothingToPickError(len(available))
    geometry = _measure(features, annotated)
    cover = _cover(geometry, annotated, carried)
    squared, nearest = cover.squared.copy(), cover.nearest.copy()
    open_slices = available & ~annotated
    indices: list[int] = []
    values: list[float] = []
    nearest_centres: list[int | None] = []
    while len(indices) < budget and open_slices.any():
        if nearest[0] < 0:
            pick = int(generator.choice(np.flatnonzero(open_slices)))
            values.append(0.0)
            nearest_centres.append(None)
        else:
            pick = int(np.argmax(np.where(open_slices, squared, np.float32(-1))))
            values.append(float(np.sqrt(squared[pick])))
            nearest_centres.append(int(nearest[pick]))
        indices.append(pick)
        open_slices[pick] = False
        _add_centre(geometry, pick, squared, nearest)
    return Picks(tuple(indices), tuple(values), tuple(nearest_centres), float(np.sqrt(squared.max())))


def carry_distances(
    features: npt.NDArray[np.floating], annotated: Flags, carried: CarriedDistances | None = None
) -> CarriedDistances:
    """Give the distances of all slices to the annotated ones, adding to `carried` only the centres it has not seen.

    A centre that is no longer annotated makes `carried` useless: everything is measured anew.
    """
    return _cover(_measure(features, annotated), annotated, carried)


def cover_radius(features: npt.NDArray[np.floating], annotated: Flags) -> float | None:
    """Give the largest distance of any slice to its nearest annotated one (delta); None if nothing is annotated."""
    if not annotated.any():
        return None
    return float(np.sqrt(carry_distances(features, annotated).squared.max()))


def _measure(features: npt.NDArray[np.floating], annotated: Flags) -> _Geometry:
    if features.ndim != 2 or len(features) != len(annotated):
        raise ShapeError("features", f"({len(annotated)}, D)", features.shape)
    refuse_non_finite("features", features)
    return _Geometry(np.asarray(features, dtype=np.float32))


def _cover(geometry: _Geometry, annotated: Flags, carried: CarriedDistances | None) -> CarriedDistances:
    size = len(annotated)
    if carried is None or len(carried.centres) != size or (carried.centres & ~annotated).any():
        squared = np.full(size, np.inf, dtype=np.float32)
        nearest = np.full(size, -1, dtype=np.int64)
        missing = annotated
    else:
        squared, nearest = carried.squared.copy(), carried.nearest.copy()
        missing = annotated & ~carried.centres
    for centre in np.flatnonzero(missing):
        _add_centre(geometry, int(centre), squared, nearest)
    return CarriedDistances(squared, nearest, annotated.copy())


def _add_centre(geometry: _Geometry, centre: int, squared: Features, nearest: npt.NDArray[np.int64]) -> None:
    """Lower the distances in place; of two centres equally near, the lower index is the nearest."""
    distances = geometry.squared_distances(centre)
    closer = (distances < squared) | ((distances == squared) & (centre < nearest))
    squared[closer] = distances[closer]
    nearest[closer] = centre
