"""Shape-based interpolation against a twin that measures every distance pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from worker.learning.interpolate import interpolate_slices

CLASSES = (0, 1, 2)


def slow_signed_distance(region: NDArray[np.bool_], spacing: tuple[float, float]) -> NDArray[np.float64]:
    """Inside: distance to the nearest pixel outside; outside: minus the distance to the nearest one inside."""
    out = np.empty(region.shape)
    pixels = [(row, column) for row in range(region.shape[0]) for column in range(region.shape[1])]
    far = float(np.hypot(region.shape[0] * spacing[0], region.shape[1] * spacing[1]))
    for row, column in pixels:
        others = [
            np.hypot((row - r) * spacing[0], (column - c) * spacing[1])
            for r, c in pixels
            if region[r, c] != region[row, column]
        ]
        nearest = min(others, default=far)
        out[row, column] = nearest if region[row, column] else -nearest
    return out


def slow_interpolate(masks: NDArray[np.uint8], known: list[int], spacing: tuple[float, float]) -> NDArray[np.uint8]:
    filled = masks.copy()
    for z in range(len(masks)):
        below = [each for each in known if each < z]
        above = [each for each in known if each > z]
        if z in known or not below or not above:
            continue
        first, second = max(below), min(above)
        share = (z - first) / (second - first)
        depths = [
            (1 - share) * slow_signed_distance(masks[first] == value, spacing)
            + share * slow_signed_distance(masks[second] == value, spacing)
            for value in CLASSES
        ]
        for row in range(masks.shape[1]):
            for column in range(masks.shape[2]):
                column_depths = [depth[row, column] for depth in depths]
                filled[z, row, column] = CLASSES[column_depths.index(max(column_depths))]
    return filled


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.uint8, (2, 4, 5), elements=st.sampled_from(CLASSES)),
    st.integers(1, 3),
    st.sampled_from([(1.0, 1.0), (1.0, 2.0), (0.5, 0.75)]),
)
def test_it_is_its_slow_twin(pair: NDArray[np.uint8], gap: int, spacing: tuple[float, float]) -> None:
    masks = np.full((gap + 4, 4, 5), 255, dtype=np.uint8)
    masks[1], masks[gap + 2] = pair
    known = [1, gap + 2]
    filled = interpolate_slices(masks, known, CLASSES, spacing)
    assert (filled == slow_interpolate(masks, known, spacing)).all()
    assert (filled[0] == 255).all(), "outside of the known slices nothing is known"
    assert (filled[-1] == 255).all()
    assert (filled[known] == masks[known]).all()


def test_a_disc_between_two_discs_has_a_radius_between_theirs() -> None:
    rows, columns = np.mgrid[:41, :41] - 20
    masks = np.full((5, 41, 41), 255, dtype=np.uint8)
    masks[0] = np.hypot(rows, columns) <= 4
    masks[4] = np.hypot(rows, columns) <= 16
    filled = interpolate_slices(masks, [0, 4], (0, 1), (1.0, 1.0))
    radii = [float(np.sqrt((plane == 1).sum() / np.pi)) for plane in filled]
    assert radii == pytest.approx([4, 7, 10, 13, 16], abs=0.4)


def test_a_ring_stays_a_ring_around_its_pool() -> None:
    rows, columns = np.mgrid[:41, :41] - 20
    masks = np.full((3, 41, 41), 255, dtype=np.uint8)
    for z, (pool, outer) in ((0, (4, 9)), (2, (8, 15))):
        distance = np.hypot(rows, columns)
        masks[z] = np.where(distance <= pool, 2, np.where(distance <= outer, 1, 0))
    middle = interpolate_slices(masks, [0, 2], CLASSES, (1.0, 1.0))[1]
    assert middle[20, 20] == 2
    assert middle[20, 20 + 9] == 1
    assert middle[20, 20 + 15] == 0
