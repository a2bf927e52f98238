"""Scores of disagreement against loop-written twins and hand cases; members aligned, batched, streamed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.learning.query.maps import KeptMaps, draw_maps
from tests.oracles import mutual_information_by_loops, variance_ratio_by_loops
from worker.learning.errors import ConfigError
from worker.learning.query.pool import QueryPool
from worker.learning.query.uncertainty import (
    mutual_information,
    pick_by_bald,
    pick_by_variance_ratio,
    pick_highest,
    variance_ratio,
)

SCORES = [(variance_ratio, variance_ratio_by_loops), (mutual_information, mutual_information_by_loops)]


def make_pool(maps: torch.Tensor, annotated: tuple[int, ...] = (0,)) -> QueryPool:
    slices = np.arange(maps.shape[1])
    centres = np.isin(slices, annotated)
    return QueryPool(slices // 4, slices // 2, slices % 2, centres, ~centres, probability_reader=KeptMaps(maps))


@pytest.mark.parametrize(("score", "twin"), SCORES)
@given(members=st.integers(1, 4), slices=st.integers(1, 3), classes=st.integers(2, 4), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_a_score_equals_its_twin(score, twin, members, slices, classes, seed):
    maps = draw_maps(members, slices, classes, 3, seed)
    assert score(iter(maps)).tolist() == pytest.approx(twin(maps.numpy()), abs=1e-5)


@pytest.mark.parametrize(("score", "_twin"), SCORES)
def test_turning_all_members_together_changes_no_score_and_turning_one_does(score, _twin):
    maps = draw_maps(3, 5, 3, 8, seed=2)
    plain = score(iter(maps))
    assert torch.allclose(score(iter(maps.rot90(1, (3, 4)))), plain, atol=1e-6)
    assert torch.allclose(score(iter(maps.flip(4))), plain, atol=1e-6)
    misaligned = torch.cat([maps[:1].rot90(1, (3, 4)), maps[1:]])
    assert not torch.allclose(score(iter(misaligned)), plain, atol=1e-3)


def test_variance_ratio_of_five_members_by_hand():
    """One pixel; 5, 4, 3, 2 votes for the commonest class: 0, 0.2, 0.4, 0.6."""
    votes = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 2, 1, 1], [0, 1, 1, 2, 1], [0, 0, 1, 2, 1]]).T  # (M, N)
    maps = torch.nn.functional.one_hot(votes, 3).float()[..., None, None]
    assert variance_ratio(iter(maps)).tolist() == pytest.approx([0, 0.2, 0.4, 0.6])


def test_the_slices_with_most_disagreement_are_picked_in_order():
    maps = draw_maps(4, 9, 3, 6, seed=4)
    expected = np.array(variance_ratio_by_loops(maps.numpy()))
    expected[0] = -1  # annotated
    picks = pick_by_variance_ratio(make_pool(maps), 4, {}, np.random.default_rng(0))
    assert list(picks.indices) == np.argsort(-expected)[:4].tolist()
    assert picks.values == pytest.approx(np.sort(expected)[::-1][:4].tolist())


def test_equal_values_are_ranked_by_the_generator():
    """One member never disagrees with itself; then the rule is a fair draw, not the order of the files."""
    pool = make_pool(draw_maps(1, 30, 2, 4, seed=0))
    orders = {pick_by_variance_ratio(pool, 3, {}, np.random.default_rng(seed)).indices for seed in range(8)}
    assert len(orders) > 4
    picks = pick_highest(np.array([4, 7, 9]), np.array([1.0, 2.0, 1.0]), 2, np.random.default_rng(0))
    assert picks.indices[0] == 7
    assert picks.values == (2.0, 1.0)


def test_mutual_information_by_hand():
    """Two sure members that disagree: log 2. Two that are equally unsure: nothing to learn, 0."""
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[:, None, :, None, None]
    unsure = torch.full((2, 1, 2, 1, 1), 0.5)
    assert mutual_information(iter(sure)).item() == pytest.approx(np.log(2))
    assert mutual_information(iter(unsure)).item() == pytest.approx(0, abs=1e-7)


def test_bald_averages_the_members_and_follows_its_passes():
    maps = draw_maps(3, 12, 3, 4, seed=6)
    pool = make_pool(maps)
    available = np.arange(1, 12)
    seed = int(np.random.default_rng(1).integers(2**63))
    each = KeptMaps(maps).score_by_dropout(mutual_information, available, 6, seed)
    picks = pick_by_bald(pool, 5, {"passes": 6}, np.random.default_rng(1))
    assert list(picks.indices) == available[np.argsort(-each.mean(axis=0))[:5]].tolist()
    with pytest.raises(ConfigError, match="passes is 0"):
        pick_by_bald(pool, 5, {"passes": 0}, np.random.default_rng(1))
