"""K-Center Greedy against a loop-written twin, the 2-approximation, and carried distances."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.counting import count_pairs
from tests.oracles import best_cover_radius, k_center_greedy_by_loops
from worker.learning.errors import BudgetError, NonFiniteError, NothingToPickError, ShapeError
from worker.learning.query import coreset
from worker.learning.query.coreset import cover_radius, k_center_greedy, measure_cover


@st.composite
def rounds(draw):
    """Whole-numbered points (ties and duplicates are common), centres among them, and what is available."""
    size = draw(st.integers(2, 9))
    points = draw(st.lists(st.tuples(*[st.integers(-3, 3)] * 2), min_size=size, max_size=size))
    roles = draw(st.lists(st.sampled_from("aaac-"), min_size=size, max_size=size))
    roles[draw(st.integers(0, size - 1))] = "c"
    annotated = np.array([role == "c" for role in roles])
    available = np.array([role == "a" for role in roles])
    return np.array(points, dtype=np.float32), annotated, available


def count(measured: list[tuple[int, int]]) -> int:
    return sum(slices * centres for slices, centres in measured)


@contextmanager
def front_of(slices: int, width: int) -> Iterator[None]:
    """Let a front have so many slices of that width (0: all), centres be read two by two and held four pairs a time."""
    with pytest.MonkeyPatch.context() as patch:
        if slices:
            patch.setattr(coreset, "_FRONT_BYTES", slices * width * 4)
            patch.setattr(coreset, "_CENTRES_BYTES", 2 * width * 4)
            patch.setattr(coreset, "_LEAST_FRONT", 0)
            patch.setattr(coreset, "_LEAST_PIECE", 1)
            patch.setattr(coreset, "_PAIRS", 4)
        yield


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(rounds(), st.integers(1, 6), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_picks_and_radius_equal_the_twin(drawn, budget, front):
    points, annotated, available = drawn
    if not available.any():
        return
    with front_of(front, 2):
        picks = k_center_greedy(points, annotated, available, budget, rng())
    expected, radius = k_center_greedy_by_loops(
        points.tolist(), np.flatnonzero(annotated).tolist(), np.flatnonzero(available).tolist(), budget
    )
    assert list(picks.indices) == expected
    assert picks.cover_radius == pytest.approx(radius, abs=1e-5)


@given(rounds(), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_cover_radius_is_within_twice_the_best(drawn, budget):
    points, annotated, _ = drawn
    free = ~annotated
    if free.sum() < budget:
        return
    picks = k_center_greedy(points, annotated, free, budget, rng())
    best = best_cover_radius(points.tolist(), np.flatnonzero(annotated).tolist(), budget)
    assert picks.cover_radius <= 2 * best + 1e-5


@given(rounds(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_values_never_rise_and_no_slice_is_picked_twice(drawn, budget):
    points, annotated, available = drawn
    if not available.any():
        return
    picks = k_center_greedy(points, annotated, available, budget, rng())
    assert len(set(picks.indices)) == len(picks.indices) == min(budget, available.sum())
    assert available[list(picks.indices)].all()
    assert list(picks.values) == sorted(picks.values, reverse=True)


@pytest.mark.parametrize("budgets", [(3, 4, 5), (1, 1, 10)])
def test_rounds_that_carry_their_cover_equal_one_run_from_scratch(budgets, monkeypatch):
    features = rng(1).standard_normal((80, 16)).astype(np.float32)
    start = np.arange(80) % 20 == 0
    whole = k_center_greedy(features, start, ~start, sum(budgets), rng())
    measured = count_pairs(monkeypatch)
    annotated, carried, indices, values = start, None, [], []
    for budget in budgets:
        picks = k_center_greedy(features, annotated, ~annotated, budget, rng(), carried)
        assert carried is None or (picks.cover.squared <= carried.squared).all()
        carried = picks.cover
        indices += picks.indices
        values += picks.values
        annotated = annotated.copy()
        annotated[list(picks.indices)] = True
    assert (tuple(indices), tuple(values)) == (whole.indices, whole.values)
    assert picks.cover_radius == whole.cover_radius == cover_radius(features, annotated)
    assert count(measured) == 80 * (annotated.sum() + annotated.sum()), "each pair once, and once more for the radius"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_carried_cover_changes_no_bit_whatever_came_and_went(data):
    """Centres come, are withdrawn and come back; whole numbers (ties) and others, of odd widths and far-off origins."""
    size, width = data.draw(st.integers(2, 40)), data.draw(st.integers(1, 19))
    seed = data.draw(st.integers(0, 99))
    points = rng(seed).integers(-2, 3, (size, width)) if seed % 2 else rng(seed).standard_normal((size, width)) * 7 + 50
    features = points.astype(np.float32)
    carried = None
    for _ in range(3):
        centres = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        kept, anew = measure_cover(features, centres, carried), measure_cover(features, centres)
        assert kept.squared.tobytes() == anew.squared.tobytes()
        assert kept.nearest.tolist() == anew.nearest.tolist()
        assert kept.centres.tolist() == centres.tolist()
        before, free = kept.squared.tobytes(), ~centres
        if free.any():
            further = k_center_greedy(features, centres, free, 2, rng(), kept)
            assert further == k_center_greedy(features, centres, free, 2, rng())
            assert kept.squared.tobytes() == before, "what was handed in stays as it was"
            kept = further.cover
        carried = kept


@given(
    st.integers(0, 999),
    st.integers(2, 60),
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_slices_that_wait_change_no_bit_and_cost_no_pair(seed, size, front, budget, alike, whole):
    """Few or many in the front, ties and duplicates, closed slices: as where every slice is measured to each centre."""
    draws = rng(seed)
    few = draws.integers(-2, 3, (-(-size // alike), 3)) if whole else draws.standard_normal((-(-size // alike), 3))
    features = np.repeat(few, alike, axis=0)[:size].astype(np.float32)
    annotated = draws.random(size) < 0.2
    available = ~annotated & (draws.random(size) < 0.8)
    if not available.any():
        return
    plain = k_center_greedy(features, annotated, available, budget, rng())
    with front_of(front, 3), pytest.MonkeyPatch.context() as patch:
        measured = count_pairs(patch)
        picks = k_center_greedy(features, annotated, available, budget, rng())
    assert picks == plain
    assert picks.cover.squared.tobytes() == plain.cover.squared.tobytes()
    assert picks.cover.nearest.tolist() == plain.cover.nearest.tolist()
    assert picks.cover.centres.tolist() == plain.cover.centres.tolist()
    assert count(measured) <= size * picks.cover.centres.sum(), "no slice to a centre twice"


def test_a_withdrawn_centre_costs_only_the_slices_that_were_its_own(monkeypatch):
    features = np.array([[0.0], [1], [10], [11], [30]], dtype=np.float32)
    carried = measure_cover(features, np.array([True, False, True, False, True]))
    measured = count_pairs(monkeypatch)
    fresh = measure_cover(features, np.array([True, False, False, False, True]), carried)
    assert fresh.squared.tolist() == [0, 1, 100, 121, 0]
    assert fresh.nearest.tolist() == [0, 0, 0, 0, 4]
    assert measured == [(2, 2)], "slices 2 and 3, from the two centres that are left"


def test_a_cover_of_other_features_is_passed_over(monkeypatch):
    features = rng(4).standard_normal((30, 5)).astype(np.float32)
    annotated = np.arange(30) < 6
    carried = measure_cover(features, annotated)
    moved = features.copy()
    moved[29, 4] = np.nextafter(moved[29, 4], np.float32(9))
    measured = count_pairs(monkeypatch)
    for others in (moved, features[:, ::-1], features[::-1]):
        measured.clear()
        assert measure_cover(others, annotated, carried).fingerprint != carried.fingerprint
        assert count(measured) == 30 * 6, "measured anew"
    measured.clear()
    assert measure_cover(features, annotated, carried).fingerprint == carried.fingerprint
    assert measured == []


def test_five_points_on_a_line():
    features = np.array([[0.0], [1], [2], [8], [9]], dtype=np.float32)
    annotated = np.array([True, False, False, False, False])
    picks = k_center_greedy(features, annotated, ~annotated, 2, rng())
    assert picks.indices == (4, 2)
    assert picks.values == (9, 2)
    assert picks.nearest == (0, 0)
    assert picks.cover_radius == 1


def test_first_centre_is_drawn_from_the_generator():
    features = rng(5).standard_normal((50, 4)).astype(np.float32)
    nothing, available = np.zeros(50, dtype=bool), np.arange(50) % 2 == 0
    firsts = {k_center_greedy(features, nothing, available, 1, rng(seed)).indices[0] for seed in range(30)}
    assert len(firsts) > 5
    assert all(first % 2 == 0 for first in firsts)
    picks = k_center_greedy(features, nothing, available, 3, rng(7))
    assert picks == k_center_greedy(features, nothing, available, 3, rng(7))
    assert picks.nearest[0] is None
    assert picks.values[0] == 0
    assert picks.nearest[1] == picks.indices[0]


def test_duplicates_are_picked_once_each_in_index_order():
    features = np.tile(rng(2).standard_normal((1, 33)).astype(np.float32) * 100, (9, 1))
    annotated = np.arange(9) == 4
    picks = k_center_greedy(features, annotated, ~annotated, 8, rng())
    assert picks.indices == (0, 1, 2, 3, 5, 6, 7, 8)
    assert picks.values == (0,) * 8


def test_a_large_common_offset_changes_no_pick():
    features = rng(3).integers(-50, 50, (60, 8)).astype(np.float32)
    annotated = np.arange(60) < 2
    plain = k_center_greedy(features, annotated, ~annotated, 20, rng())
    assert k_center_greedy(features + 100_000, annotated, ~annotated, 20, rng()) == plain


@pytest.mark.parametrize("outlier", [0, 17, 59])
def test_one_slice_far_from_all_others_costs_them_no_digit(outlier):
    features = rng(3).integers(-50, 50, (60, 8)).astype(np.float32)
    annotated = np.isin(np.arange(60), (outlier, 5, 6))
    features[outlier] = 1e6
    picks = k_center_greedy(features, annotated, ~annotated, 20, rng())
    others = np.arange(60) != outlier
    alone = k_center_greedy(features[others], annotated[others], ~annotated[others], 20, rng())
    assert picks.values == alone.values, "nobody is nearest to it, so it changes nothing"


def test_a_budget_beyond_the_pool_picks_all_that_is_available():
    features = rng().standard_normal((6, 3)).astype(np.float32)
    annotated, available = np.arange(6) == 0, np.isin(np.arange(6), (1, 3))
    picks = k_center_greedy(features, annotated, available, 99, rng())
    assert sorted(picks.indices) == [1, 3]
    assert picks.cover_radius == cover_radius(features, annotated | available)


def test_cover_radius_without_a_centre_is_unknown():
    assert cover_radius(np.zeros((3, 2)), np.zeros(3, dtype=bool)) is None


def test_bad_input_is_refused():
    features, none, every = np.zeros((4, 2)), np.zeros(4, dtype=bool), np.ones(4, dtype=bool)
    with pytest.raises(BudgetError, match="0 slices"):
        k_center_greedy(features, none, every, 0, rng())
    with pytest.raises(NothingToPickError, match="None of the 4"):
        k_center_greedy(features, every, none, 1, rng())
    with pytest.raises(ShapeError, match=r"\(4, D\)"):
        k_center_greedy(features[:3], none, every, 1, rng())
    features[2, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"\(2, 1\)"):
        k_center_greedy(features, none, every, 1, rng())


@pytest.mark.parametrize("largest", [np.float32(1e25), np.float64(1e300)])
def test_features_too_large_to_measure_are_refused(largest):
    features = np.eye(4, 3, dtype=type(largest)) * largest
    with pytest.raises(NonFiniteError, match=r"squared lengths of the features .* index \(0,\)"):
        k_center_greedy(features, np.zeros(4, dtype=bool), np.ones(4, dtype=bool), 1, rng())


def test_the_papers_largest_round_takes_a_moment():
    """581 of 1454 slices: 0.03 to 0.06 s on one quiet core; the best of three, since cores are shared."""
    features = rng().standard_normal((1454, 512)).astype(np.float32)
    nothing = np.zeros(1454, dtype=bool)
    spent = []
    for _ in range(3):
        start = time.thread_time()
        picks = k_center_greedy(features, nothing, ~nothing, 581, rng())
        spent.append(time.thread_time() - start)
    assert len(picks.indices) == 581
    assert min(spent) < 0.15


@pytest.mark.parametrize("array", [np.float64, np.float16])
def test_other_float_widths_pick_as_float32(array):
    features = rng().integers(0, 9, (20, 3)).astype(np.float32)
    annotated = np.arange(20) == 0
    expected = k_center_greedy(features, annotated, ~annotated, 5, rng())
    assert k_center_greedy(features.astype(array), annotated, ~annotated, 5, rng()) == expected
