"""ClaSP PE: class entropies against a twin, power noise, strata, and noise that fades with the schedule."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.learning.query.maps import KeptMaps, draw_maps
from tests.oracles import (
    clasp_columns_by_loops,
    clasp_picks_by_loops,
    class_entropies_by_loops,
    power_noise_by_loops,
)
from worker.learning.errors import ConfigError
from worker.learning.query.clasp import _draw_strata, add_power_noise, class_entropies, pick_by_clasp_entropy
from worker.learning.query.pool import QueryPool

SLICES, CLASSES = 30, 4
MAPS = draw_maps(2, SLICES, CLASSES, 4, seed=11)
SILENT = {"first_beta": 1e12, "last_beta": 1e12}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_pool(maps: torch.Tensor = MAPS, progress: float = 0.0) -> QueryPool:
    slices = np.arange(maps.shape[1])
    centres = slices < 3
    pool = QueryPool(slices // 6, slices // 3, slices % 3, centres, ~centres, probability_reader=KeptMaps(maps))
    return replace(pool, progress=progress)


@given(members=st.integers(1, 3), slices=st.integers(1, 3), classes=st.integers(2, 4), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_class_entropies_equal_their_twin(members, slices, classes, seed):
    maps = draw_maps(members, slices, classes, 3, seed)
    expected = np.array(class_entropies_by_loops(maps.numpy()))
    assert class_entropies(iter(maps)).numpy() == pytest.approx(expected, abs=1e-5)


def test_turning_all_members_together_changes_no_entropy():
    assert torch.allclose(class_entropies(iter(MAPS.rot90(1, (3, 4)))), class_entropies(iter(MAPS)), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_without_noise_each_turn_takes_the_best_of_its_column(seed):
    scores = np.array(class_entropies_by_loops(MAPS.numpy()))[3:]
    picks = pick_by_clasp_entropy(make_pool(), 9, SILENT, rng(seed))
    columns = [
        int(np.abs(np.log(scores[i - 3]) - value).argmin())
        for i, value in zip(picks.indices, picks.values, strict=True)
    ]
    assert Counter(columns) == {0: 3, 1: 2, 2: 2, 3: 2}  # round(0.66 * 9) = 6 picks over three classes
    assert list(picks.indices) == [3 + place for place in clasp_picks_by_loops(scores.tolist(), columns)]


def test_an_odd_remainder_goes_by_lot():
    """Two of the three classes get one more; over many seeds each does."""
    seen = set()
    for seed in range(12):
        picks = pick_by_clasp_entropy(make_pool(), 12, {**SILENT, "class_share": 8 / 12}, rng(seed))
        assert len(set(picks.indices)) == 12
        seen.add(picks.indices[:12])
    assert len(seen) > 3


@given(st.integers(1, 40), st.floats(0, 1), st.integers(2, 6), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_strata_equal_their_twin(budget, share, columns, seed):
    expected = clasp_columns_by_loops(budget, share, columns, rng(seed))
    assert _draw_strata(budget, share, columns, rng(seed)).tolist() == expected


@given(st.lists(st.lists(st.floats(0, 2), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(0.1, 100))
@settings(max_examples=40, deadline=None)
def test_noise_equals_its_twin(scores, beta):
    expected = power_noise_by_loops(scores, beta, rng(3))
    assert add_power_noise(np.array(scores), beta, rng(3)) == pytest.approx(np.array(expected))


def test_power_noise_draws_in_proportion_to_the_power_of_the_score():
    scores = np.tile([[1.0], [2.0], [3.0]], (1, 4000))
    for beta in (1.0, 2.0):
        winners = Counter(add_power_noise(scores, beta, rng()).argmax(axis=0).tolist())
        total = sum(score**beta for score in (1, 2, 3))
        assert [winners[i] / 4000 for i in range(3)] == pytest.approx([s**beta / total for s in (1, 2, 3)], abs=0.03)


def test_noise_fades_as_the_schedule_proceeds():
    def distinct(progress: float) -> int:
        pool = make_pool(progress=progress)
        return len(
            {
                index
                for seed in range(20)
                for index in pick_by_clasp_entropy(pool, 3, {"class_share": 0}, rng(seed)).indices
            }
        )

    assert distinct(0.0) > distinct(1.0)


def test_a_class_that_nobody_sees_does_no_harm():
    maps = torch.cat([MAPS, torch.zeros_like(MAPS[:, :, :1])], dim=2)
    picks = pick_by_clasp_entropy(make_pool(maps), 12, {}, rng())
    assert len(set(picks.indices)) == 12
    assert np.isfinite(picks.values).all()


@pytest.mark.parametrize(("name", "value"), [("class_share", 2), ("first_beta", 0), ("last_beta", float("nan"))])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        pick_by_clasp_entropy(make_pool(), 2, {name: value}, rng())
