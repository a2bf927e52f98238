"""K-Center Greedy: pick the slice farthest from everything annotated, again and again.

Source: Sener and Savarese, ICLR 2018, Algorithm 1; used on encoder features by Vepa et al., NeurIPS 2024, Section 3.3.
The greedy cover radius is at most twice the best possible one.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from worker.learning.errors import BudgetError, NothingToPickError, ShapeError
from worker.learning.query.pool import Cover, Features, Flags, Indices, Picks, refuse_non_finite

# A squared distance below this part of the two squared norms is rounding noise of float32: the points are duplicates.
NOISE = np.float32(1e-6)
_LANDMARKS = 101  # slices whose coordinate-wise median is the origin


class _Geometry:
    """Squared Euclidean distances from one slice to all, one float32 pass over the features a centre."""

    def __init__(self, features: Features) -> None:
        # Moved to the middle, for a large common offset would cancel badly in float32. The middle is a median, so that
        # no outlier moves it, and one that was measured, unlike a mean: whole numbers stay whole and ties exact.
        some = features[np.linspace(0, len(features) - 1, min(len(features), _LANDMARKS)).round().astype(int)]
        half = (len(some) - 1) // 2
        self.points = np.ascontiguousarray(features - np.partition(some, half, axis=0)[half], dtype=np.float32)
        self.squared_norms = np.vecdot(self.points, self.points)

    def squared_distances(self, centre: int, rows: slice | Indices = slice(None)) -> Features:
        sums = self.squared_norms[rows] + self.squared_norms[centre]
        # Not `@`: BLAS shares so short a product among threads that spin, which cost ten times as much on a busy
        # machine. Row by row it keeps to the thread it is on, and a row's sum is the same whichever rows are beside it.
        squared: Features = sums - 2 * np.vecdot(self.points[rows], self.points[centre])
        squared[squared <= NOISE * sums] = 0
        return squared


def k_center_greedy(
    features: npt.NDArray[np.floating],
    annotated: Flags,
    available: Flags,
    budget: int,
    generator: np.random.Generator,
    carried: Cover | None = None,
) -> Picks:
    """Pick up to `budget` available slices of the (N, D) features, each farthest from all centres before it.

    Centres are the annotated slices and the picks so far; distance is Euclidean in float32. With no centre at all the
    first pick is drawn from `generator`. Ties go to the lowest index; no slice is picked twice, duplicates included. A
    budget beyond what is available picks everything. `carried`, the cover of an earlier round's picks, spares measuring
    the centres that it has and changes no pick; one of other features is passed over. Cost: O(N·D) a centre that is
    new. Raises BudgetError, NothingToPickError, ShapeError, NonFiniteError.
    """
    if budget < 1:
        raise BudgetError(budget)
    if not available.any():
        raise NothingToPickError(len(available))
    geometry, cover = _measure(features, annotated, carried)
    squared, nearest, centres = cover.squared, cover.nearest, cover.centres
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
        centres[pick] = True
        _add_centre(geometry, pick, squared, nearest)
    radius = float(np.sqrt(squared.max()))
    return Picks(tuple(indices), tuple(values), tuple(nearest_centres), radius, cover=cover)


def measure_cover(features: npt.NDArray[np.floating], annotated: Flags, carried: Cover | None = None) -> Cover:
    """Give the distances of all N slices to the annotated ones, measuring only what `carried` does not know yet.

    Equal to the last bit whatever was carried. Raises ShapeError and NonFiniteError.
    """
    return _measure(features, annotated, carried)[1]


def cover_radius(features: npt.NDArray[np.floating], annotated: Flags) -> float | None:
    """Give the largest distance of any slice to its nearest annotated one (delta); None if nothing is annotated."""
    if not annotated.any():
        return None
    return float(np.sqrt(measure_cover(features, annotated).squared.max()))


def _measure(features: npt.NDArray[np.floating], annotated: Flags, carried: Cover | None) -> tuple[_Geometry, Cover]:
    """The geometry, and a cover that nobody else holds."""
    if features.ndim != 2 or len(features) != len(annotated):
        raise ShapeError("features", f"({len(annotated)}, D)", features.shape)
    refuse_non_finite("features", features)
    points = np.ascontiguousarray(features, dtype=np.float32)
    geometry = _Geometry(points)
    fingerprint = _fingerprint(points)
    if carried is None or carried.fingerprint != fingerprint:
        carried = Cover.of_nothing(fingerprint, len(points))
    squared, nearest = carried.squared.copy(), carried.nearest.copy()
    withdrawn = carried.centres & ~annotated
    if withdrawn.any():
        _remove_centres(geometry, carried, withdrawn, squared, nearest)
    for centre in np.flatnonzero(annotated & ~carried.centres):
        _add_centre(geometry, int(centre), squared, nearest)
    return geometry, Cover(fingerprint, squared, nearest, annotated.copy())


def _fingerprint(points: Features) -> str:
    digest = hashlib.sha256(repr(points.shape).encode())
    digest.update(points.data)
    return digest.hexdigest()


def _add_centre(
    geometry: _Geometry, centre: int, squared: Features, nearest: Indices, rows: slice | Indices = slice(None)
) -> None:
    """Lower the distances of these rows in place; of two centres equally near, the lower index is the nearest."""
    distances = geometry.squared_distances(centre, rows)
    closer = (distances < squared) | ((distances == squared) & (centre < nearest))
    squared[closer] = distances[closer]
    nearest[closer] = centre


def _remove_centres(geometry: _Geometry, carried: Cover, gone: Flags, squared: Features, nearest: Indices) -> None:
    """Measure the slices anew, in place, whose nearest centre was one of `gone`; the others keep theirs."""
    rows = np.flatnonzero(gone[carried.nearest])
    anew = Cover.of_nothing(carried.fingerprint, len(rows))
    for centre in np.flatnonzero(carried.centres & ~gone):
        _add_centre(geometry, int(centre), anew.squared, anew.nearest, rows)
    squared[rows], nearest[rows] = anew.squared, anew.nearest
