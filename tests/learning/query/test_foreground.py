"""Foreground-aware random: shares against a twin, where the budget goes, rare classes as often as common ones."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.learning.query.maps import KeptMaps, draw_maps
from tests.oracles import class_shares_by_loops, foreground_picks_by_loops
from worker.learning.errors import ConfigError
from worker.learning.query.foreground import class_shares, pick_foreground_aware
from worker.learning.query.pool import QueryPool

EMPTY, COMMON, RARE = range(20), range(20, 38), range(38, 40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_pool(annotated: tuple[int, ...] = ()) -> QueryPool:
    """40 slices of 4 x 4 pixels: 20 empty, 18 with class 1 on a quarter of the pixels, 2 with class 2."""
    labels = torch.zeros(40, 4, 4, dtype=torch.int64)
    labels[list(COMMON), 0] = 1
    labels[list(RARE), 0] = 2
    maps = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()[None].repeat(2, 1, 1, 1, 1)
    slices = np.arange(40)
    centres = np.isin(slices, annotated)
    return QueryPool(slices // 10, slices // 5, slices % 5, centres, ~centres, probability_reader=KeptMaps(maps))


@given(members=st.integers(1, 3), slices=st.integers(1, 3), classes=st.integers(2, 4), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_shares_equal_their_twin(members, slices, classes, seed):
    maps = draw_maps(members, slices, classes, 3, seed)
    assert class_shares(iter(maps)).numpy() == pytest.approx(np.array(class_shares_by_loops(maps.numpy())))


def test_turning_all_members_together_changes_no_share():
    maps = draw_maps(3, 4, 3, 6, seed=1)
    assert torch.allclose(class_shares(iter(maps.rot90(1, (3, 4)))), class_shares(iter(maps)))


@pytest.mark.parametrize("seed", range(5))
def test_two_thirds_show_a_structure_and_say_how_much(seed):
    picks = pick_foreground_aware(make_pool(), 9, {}, rng(seed))
    assert all(index in COMMON or index in RARE for index in picks.indices[:6])
    assert picks.values[:6] == (0.25,) * 6
    assert len(set(picks.indices)) == 9


def test_a_rare_class_comes_as_often_as_a_common_one():
    firsts = Counter(pick_foreground_aware(make_pool(), 2, {}, rng(seed)).indices[0] for seed in range(400))
    assert 150 < sum(firsts[index] for index in RARE) < 250
    assert not any(firsts[index] for index in EMPTY)


def test_when_no_structure_is_left_the_rest_comes_from_all():
    pool = make_pool(annotated=(*COMMON, 38))
    picks = pick_foreground_aware(pool, 10, {"foreground_share": 1}, rng())
    assert picks.indices[0] == 39
    assert all(index in EMPTY for index in picks.indices[1:])
    assert picks.values[1:] == (0.0,) * 9


def test_a_share_of_zero_is_even_over_the_pool():
    counts = Counter(
        index
        for seed in range(300)
        for index in pick_foreground_aware(make_pool(), 4, {"foreground_share": 0}, rng(seed)).indices
    )
    assert sum(counts[index] for index in EMPTY) == pytest.approx(600, abs=80)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), "half", True])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ConfigError, match="foreground_share"):
        pick_foreground_aware(make_pool(), 2, {"foreground_share": share}, rng())


@given(st.integers(0, 999), st.integers(1, 45), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_picks_equal_their_twin_whatever_the_share(seed, budget, share):
    pool = make_pool()
    available = np.flatnonzero(pool.available)
    present = pool.score_by_members(class_shares, available)[:, 1:] > 0
    expected = foreground_picks_by_loops(present.tolist(), min(budget, 40), round(share * budget), rng(seed))
    picks = pick_foreground_aware(pool, budget, {"foreground_share": share}, rng(seed))
    assert list(picks.indices) == available[expected].tolist()
