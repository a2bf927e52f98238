"""TypiClust: typicality and the round of the clusters against loop-written twins, and planted clusters."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.oracles import typicality_by_loops, typiclust_by_loops
from worker.learning.query.geometry import bring_to_length_one
from worker.learning.query.pool import QueryPool
from worker.learning.query.typiclust import cluster_features, pick_by_typiclust, typicality


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_pool(features: np.ndarray, annotated: tuple[int, ...] = ()) -> QueryPool:
    slices = np.arange(len(features))
    centres = np.isin(slices, annotated)
    return QueryPool(slices, slices, slices * 0, centres, ~centres, feature_reader=lambda: features)


def planted(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tight bundles of directions, one a cluster, and the cluster of each point."""
    generator = rng(seed)
    centres = np.eye(len(sizes) + 1)[: len(sizes)]
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    return centres[clusters] + 0.05 * generator.standard_normal((len(clusters), len(sizes) + 1)), clusters


@given(st.integers(1, 9), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_typicality_equals_its_twin(count, seed):
    points = rng(seed).standard_normal((count, 3)).astype(np.float32)
    assert typicality(points).tolist() == pytest.approx(typicality_by_loops(points.tolist()), rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_picks_equal_the_twin_on_the_same_clusters(seed):
    features, _ = planted((9, 14, 7, 4, 11), seed)
    annotated = (0, 10, 30)
    picks = pick_by_typiclust(make_pool(features, annotated), 4, {}, rng(seed))
    unit = bring_to_length_one(features.astype(np.float32))
    clusters = cluster_features(unit, 4 + len(annotated), rng(seed))
    available = [index for index in range(len(unit)) if index not in annotated]
    expected = typiclust_by_loops(unit.tolist(), clusters.tolist(), annotated, available, 4)
    assert list(picks.indices)[: len(expected)] == expected
    assert len(set(picks.indices)) == 4


def test_clusters_without_annotation_come_first_and_the_largest_of_them_before():
    features, clusters = planted((20, 12, 16))
    annotated = (0,)  # of the largest cluster
    picks = pick_by_typiclust(make_pool(features, annotated), 2, {}, rng())
    assert [clusters[index] for index in picks.indices] == [2, 1]


def test_the_densest_point_of_a_cluster_is_taken():
    features = np.array([[1.0, 0.0]] * 4 + [[1.0, 0.1 * step] for step in range(1, 6)])
    assert pick_by_typiclust(make_pool(features), 1, {}, rng()).indices == (0,)


def test_duplicates_give_fewer_clusters_and_no_pick_twice():
    features = np.repeat(np.eye(3), 7, axis=0)
    picks = pick_by_typiclust(make_pool(features), 6, {}, rng())
    assert len(set(picks.indices)) == 6
    assert sorted(index // 7 for index in picks.indices) == [0, 0, 1, 1, 2, 2]


def test_when_only_tiny_clusters_are_left_the_rest_is_drawn():
    features, _ = planted((3, 2, 4))
    first, second = (pick_by_typiclust(make_pool(features), 3, {}, rng(seed)) for seed in (0, 1))
    assert first.values == (0.0,) * 3
    assert first.indices != second.indices


def test_many_clusters_go_through_mini_batches_and_repeat_with_the_seed():
    features = rng(5).standard_normal((160, 6))
    pool = make_pool(features)
    picks = pick_by_typiclust(pool, 60, {}, rng(2))
    assert picks == pick_by_typiclust(pool, 60, {}, rng(2))
    assert len(np.unique(cluster_features(features.astype(np.float32), 60, rng(2)))) > 50
    assert pick_by_typiclust(pool, 60, {"clusters": 5}, rng(2)).indices != picks.indices
