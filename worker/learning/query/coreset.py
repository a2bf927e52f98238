"""K-Center Greedy: pick the slice farthest from everything annotated, again and again.

Source: Sener and Savarese, ICLR 2018, Algorithm 1; used on encoder features by Vepa et al., NeurIPS 2024, Section 3.3.
The greedy cover radius is at most twice the best possible one.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.learning.errors import BudgetError, NothingToPickError, ShapeError
from worker.learning.query.pool import Cover, Features, Flags, Indices, Picks, refuse_non_finite

# A squared distance below this part of the two squared norms is rounding noise of float32: the points are duplicates.
NOISE = np.float32(1e-6)
_LANDMARKS = 101  # slices whose coordinate-wise median is the origin
# What is read again and again is taken in pieces of this size, which stay in a core's own cache.
_FRONT_BYTES, _CENTRES_BYTES = 1 << 18, 1 << 18
_LINE_BYTES = 64
_PAIRS = 1 << 16  # at most so many distances are held at a time
_LEAST_FRONT = 64  # with slices so wide that the front would hold fewer, none waits
_LEAST_PIECE = 8  # slices measured together, however wide


@dataclass(frozen=True)
class _Points:
    """Slices as points about one origin, and the squared Euclidean distances between them in float32."""

    coordinates: Features  # (N, D)
    squared_norms: Features  # (N,)

    @classmethod
    def about_the_middle(cls, features: Features) -> "_Points":
        # Moved to the middle, for a large common offset would cancel badly in float32. The middle is a median, so that
        # no outlier moves it, and one that was measured, unlike a mean: whole numbers stay whole and ties exact.
        some = features[np.linspace(0, len(features) - 1, min(len(features), _LANDMARKS)).round().astype(int)]
        half = (len(some) - 1) // 2
        points = _empty_lines(features.shape)
        np.subtract(features, np.partition(some, half, axis=0)[half], out=points)
        return cls(points, np.vecdot(points, points))

    def take(self, rows: Indices) -> "_Points":
        if len(rows) == 1:  # looked at where it lies: of a whole picture a copy takes as long as the measuring
            itself = slice(rows[0], rows[0] + 1)
            return _Points(self.coordinates[itself], self.squared_norms[itself])
        some = _empty_lines((len(rows), self.coordinates.shape[1]))
        np.take(self.coordinates, rows, axis=0, out=some, mode="clip")  # "raise" would go through a copy
        return _Points(some, self.squared_norms[rows])

    def measure(self, centres: "_Points") -> Features:
        """Distances of these N slices to M centres, (N, M)."""
        sums = self.squared_norms[:, None] + centres.squared_norms
        # Not `@`: BLAS shares so small a product among threads that spin, which cost ten times as much on a busy
        # machine. Pair by pair it keeps to the thread it is on, and a sum is the same whatever is measured beside it.
        squared: Features = np.vecdot(self.coordinates[:, None], centres.coordinates)
        squared *= -2
        squared += sums
        sums *= NOISE
        np.putmask(squared, squared <= sums, 0)
        return squared

    def count_in(self, size: int) -> int:
        """How many slices fill `size` bytes."""
        return max(1, int(size // max(1, self.coordinates[0].nbytes)))


def _empty_lines(shape: tuple[int, ...]) -> Features:
    """An array that begins with a line of the processor's cache: read across lines, products take 1.7 times as long."""
    size = 4 * math.prod(shape)
    room = np.empty(size + _LINE_BYTES, dtype=np.uint8)
    start = -room.__array_interface__["data"][0] % _LINE_BYTES
    return room[start : start + size].view(np.float32).reshape(shape)


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
    points, cover = _measure(features, annotated, carried)
    open_slices = available & ~annotated
    chase = _Chase(points, cover, open_slices)
    indices: list[int] = []
    values: list[float] = []
    nearest_centres: list[int | None] = []
    for _ in range(min(budget, int(np.count_nonzero(open_slices)))):
        if not cover.centres.any():
            pick = int(generator.choice(np.flatnonzero(open_slices)))
            values.append(0.0)
            nearest_centres.append(None)
        else:
            pick, squared, nearest = chase.find_farthest()
            values.append(float(np.sqrt(squared)))
            nearest_centres.append(nearest)
        indices.append(pick)
        chase.add_centre(pick)
    chase.settle()
    radius = float(np.sqrt(cover.squared.max()))
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


class _Chase:
    """Which open slice is the farthest, while centres come one by one.

    Only the farthest slices, the front, are measured to every centre at once. The others wait, and are measured to many
    centres in one reading: distances only fall, so while the front has one farther than all that wait were when last
    measured, that one is the farthest. No pair is measured twice; the result is as without a front, to the bit.
    """

    def __init__(self, points: _Points, cover: Cover, open_slices: Flags) -> None:
        """Takes the cover and the open slices as its own: they change as centres come."""
        self._points, self._cover, self._open = points, cover, open_slices
        self._pending: list[int] = []  # centres that only the front has seen
        self._apart = True  # no pick so far lies on another centre
        self._choose_front()

    def find_farthest(self) -> tuple[int, np.float32, int]:
        """Give the open slice farthest from all centres, the lowest of equals, its squared distance and its centre."""
        place, most = _find_most(self._squared, self._open[self._front])
        pick = int(self._front[place])
        if most < self._others_most or (most == self._others_most and pick > self._others_first):
            self.settle()
            self._choose_front()
            return self.find_farthest()
        self._apart = bool(most > 0)
        return pick, most, int(self._nearest[place])

    def add_centre(self, centre: int) -> None:
        """Measure the front; the others are measured when it matters."""
        self._open[centre] = False
        self._cover.centres[centre] = True
        self._pending.append(centre)
        itself = np.array([centre])
        _lower(self._front_points, self._points.take(itself), itself, self._squared, self._nearest)

    def settle(self) -> None:
        """Measure those that wait, so that the cover is whole."""
        cover = self._cover
        cover.squared[self._front], cover.nearest[self._front] = self._squared, self._nearest
        waiting = np.ones(len(cover.squared), dtype=np.bool_)
        waiting[self._front] = False
        if self._apart:  # then a centre stays its own nearest, whatever comes
            waiting &= ~cover.centres | (cover.squared > 0)
        _add_centres(self._points, np.sort(self._pending), cover.squared, cover.nearest, np.flatnonzero(waiting))
        self._pending.clear()

    def _choose_front(self) -> None:
        """The farthest of the open slices, the lowest of equals; the cover must be whole."""
        squared, size = self._cover.squared, self._points.count_in(_FRONT_BYTES)
        self._others_most, self._others_first = np.float32(-1), 0
        if size < _LEAST_FRONT or len(squared) <= size:
            self._front, self._front_points = np.arange(len(squared)), self._points
        else:
            reach = np.where(self._open, squared, np.float32(-1))
            least = np.partition(reach, -size)[-size]
            farther, equal = np.flatnonzero(reach > least), np.flatnonzero(reach == least)
            self._front = np.sort(np.concatenate([farther, equal[: size - len(farther)]]))
            self._front_points = self._points.take(self._front)
            waiting = self._open.copy()
            waiting[self._front] = False
            self._others_first, self._others_most = _find_most(squared, waiting)
        self._squared, self._nearest = squared[self._front], self._cover.nearest[self._front]


def _find_most(squared: Features, among: Flags) -> tuple[int, np.float32]:
    """The place of the largest, the lowest of equals, and its value: -1 where there is none."""
    reach = np.where(among, squared, np.float32(-1))
    place = int(np.argmax(reach))
    return place, reach[place]


def _measure(features: npt.NDArray[np.floating], annotated: Flags, carried: Cover | None) -> tuple[_Points, Cover]:
    """The slices as points, and a cover that nobody else holds."""
    if features.ndim != 2 or len(features) != len(annotated):
        raise ShapeError("features", f"({len(annotated)}, D)", features.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        narrow = np.ascontiguousarray(features, dtype=np.float32)
        points = _Points.about_the_middle(narrow)
    if not np.isfinite(points.squared_norms).all():  # spares looking at every number where all is well
        refuse_non_finite("features", features)
        refuse_non_finite("squared lengths of the features", points.squared_norms)
    fingerprint = _fingerprint(narrow)
    if carried is None or carried.fingerprint != fingerprint:
        carried = Cover.of_nothing(fingerprint, len(narrow))
    squared, nearest = carried.squared.copy(), carried.nearest.copy()
    everything = np.arange(len(narrow))
    gone = carried.centres & ~annotated
    if gone.any():  # the slices whose nearest centre is gone are measured anew
        orphans = everything[gone[carried.nearest]]
        squared[orphans], nearest[orphans] = np.inf, -1
        _add_centres(points, np.flatnonzero(carried.centres & ~gone), squared, nearest, orphans)
    _add_centres(points, np.flatnonzero(annotated & ~carried.centres), squared, nearest, everything)
    return points, Cover(fingerprint, squared, nearest, annotated.copy())


def _fingerprint(points: Features) -> str:
    digest = hashlib.sha256(repr(points.shape).encode())
    digest.update(points.data)
    return digest.hexdigest()


def _add_centres(points: _Points, centres: Indices, squared: Features, nearest: Indices, rows: Indices) -> None:
    """Lower the distances of these rows in place to those of the (M,) centres, in rising order."""
    if len(centres) == 0:
        return
    at_once = min(len(centres), points.count_in(_CENTRES_BYTES))
    parts = [(some, points.take(some)) for some in _pieces(centres, at_once)]
    for piece in _pieces(rows, max(_LEAST_PIECE, min(_PAIRS // at_once, points.count_in(_FRONT_BYTES)))):
        piece_points, lowered, by = points.take(piece), squared[piece], nearest[piece]
        for some, centre_points in parts:
            _lower(piece_points, centre_points, some, lowered, by)
        squared[piece], nearest[piece] = lowered, by


def _pieces(indices: Indices, size: int) -> Iterator[Indices]:
    return (indices[start : start + size] for start in range(0, len(indices), size))


def _lower(points: _Points, centre_points: _Points, centres: Indices, squared: Features, nearest: Indices) -> None:
    """Lower the (N,) distances of all points in place; of two centres equally near, the lower index is the nearest."""
    distances = points.measure(centre_points)
    distance, centre = distances[:, 0], centres
    if len(centres) > 1:
        best = distances.argmin(axis=1)
        distance, centre = distances[np.arange(len(best)), best], centres[best]
    closer = distance < squared
    equal = distance == squared
    if equal.any():
        closer |= equal & (centre < nearest)
    np.copyto(squared, distance, where=closer)
    np.copyto(nearest, centre, where=closer)
