"""Stochastic batches: the entropy against its twin, the best of the drawn batches, groups as an option."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.learning.query.maps import KeptMaps, draw_maps
from tests.oracles import best_batch_by_loops, predictive_entropy_by_loops
from worker.learning.errors import ConfigError
from worker.learning.query.pool import QueryPool
from worker.learning.query.stochastic import pick_by_stochastic_batches, predictive_entropy

SLICES = 24
MAPS = draw_maps(2, SLICES, 3, 4, seed=8)
VALUES = predictive_entropy(iter(MAPS)).numpy()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_pool() -> QueryPool:
    slices = np.arange(SLICES)
    centres = slices < 4
    return QueryPool(slices // 8, slices // 4, slices % 4, centres, ~centres, probability_reader=KeptMaps(MAPS))


@given(members=st.integers(1, 3), slices=st.integers(1, 3), classes=st.integers(2, 4), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_entropy_equals_its_twin(members, slices, classes, seed):
    maps = draw_maps(members, slices, classes, 3, seed)
    assert predictive_entropy(iter(maps)).tolist() == pytest.approx(predictive_entropy_by_loops(maps.numpy()), abs=1e-5)


def test_entropy_by_hand_and_aligned():
    """Sure: 0. Evenly split over two and over four classes: log 2, log 4. Turning all members together: the same."""
    rows = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])[None, :, :, None, None]
    assert predictive_entropy(iter(rows)).tolist() == pytest.approx([0, np.log(2), np.log(4)])
    assert torch.allclose(predictive_entropy(iter(MAPS.rot90(1, (3, 4)))), predictive_entropy(iter(MAPS)), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_the_drawn_batches_is_picked_by_falling_entropy(seed):
    picks = pick_by_stochastic_batches(make_pool(), 5, {"batches": 30}, rng(seed))
    drawer = rng(seed)
    batches = [drawer.choice(SLICES - 4, size=5, replace=False, shuffle=False) + 4 for _ in range(30)]
    assert list(picks.indices) == best_batch_by_loops(VALUES.tolist(), [batch.tolist() for batch in batches])
    assert list(picks.values) == sorted(picks.values, reverse=True)


def test_more_batches_never_give_a_lower_mean():
    means = [
        np.mean(pick_by_stochastic_batches(make_pool(), 4, {"batches": batches}, rng(3)).values)
        for batches in (1, 10, 200)
    ]
    assert means[0] < means[1] <= means[2]


def test_groups_are_taken_whole_in_falling_order_and_the_last_is_cut():
    picks = pick_by_stochastic_batches(make_pool(), 5, {"group_size": 3}, rng(1))
    shuffled = rng(1).permutation(SLICES - 4) + 4
    groups = [shuffled[start : start + 3].tolist() for start in range(0, SLICES - 4, 3)]
    ranked = sorted(groups, key=lambda group: -sum(VALUES[index] for index in group) / len(group))
    assert list(picks.indices) == [*ranked[0], *ranked[1]][:5]


@pytest.mark.parametrize(("name", "value"), [("batches", 0), ("batches", True), ("group_size", 2.5)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        pick_by_stochastic_batches(make_pool(), 2, {name: value}, rng())
