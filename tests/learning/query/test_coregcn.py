"""CoreGCN: graph, network and loss against loop-written twins; the planted cluster is picked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.oracles import cosine_graph_by_loops, graph_loss_by_loops, graph_network_by_loops
from worker.learning.errors import ConfigError, NonFiniteError
from worker.learning.query.coregcn import GraphNetwork, embed_by_graph, graph_loss, join_by_cosine, pick_by_coregcn
from worker.learning.query.coreset import k_center_greedy
from worker.learning.query.geometry import bring_to_length_one
from worker.learning.query.pool import QueryPool
from worker.learning.seeding import seeded_initialisation


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_pool(features: np.ndarray, annotated: np.ndarray) -> QueryPool:
    slices = np.arange(len(features))
    return QueryPool(slices, slices, slices * 0, annotated, ~annotated, task_reader=lambda: features)


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 slices in three bundles at shuffled places, of which the third has no annotation; bundles and flags."""
    bundles = rng(seed).permutation(np.repeat(np.arange(3), 20))
    features = np.abs(5 * np.eye(3, 12)[bundles] + 0.1 * rng(seed + 1).standard_normal((60, 12)))
    annotated = np.zeros(60, dtype=bool)
    for bundle in (0, 1):
        annotated[np.flatnonzero(bundles == bundle)[:6]] = True
    return features.astype(np.float32), bundles, annotated


@given(st.integers(2, 7), st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_the_graph_equals_its_twin(size, seed):
    features = bring_to_length_one(rng(seed).random((size, 4)).astype(np.float32))
    assert join_by_cosine(features) == pytest.approx(np.array(cosine_graph_by_loops(features.tolist())), abs=1e-4)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_the_network_without_dropout_equals_its_twin(size, columns, seed):
    features = bring_to_length_one(rng(seed).random((size, columns)).astype(np.float32))
    graph = join_by_cosine(features)
    with seeded_initialisation(seed, "graph"):
        network = GraphNetwork(columns).eval()
    hidden, scores = network(torch.from_numpy(features), torch.from_numpy(graph))
    layers = [(each.weight.tolist(), each.bias.tolist()) for each in (network.first, network.second)]
    expected_hidden, expected_scores = graph_network_by_loops(features.tolist(), graph.tolist(), layers)
    assert hidden.detach().numpy() == pytest.approx(np.array(expected_hidden), abs=1e-4)
    assert scores.tolist() == pytest.approx(expected_scores, abs=1e-4)


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_loss_equals_its_twin(rows):
    probabilities, labelled = [row[0] for row in rows], [row[1] for row in rows]
    loss = graph_loss(torch.tensor(probabilities), torch.tensor(labelled))
    assert float(loss) == pytest.approx(graph_loss_by_loops(probabilities, labelled), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_cluster_without_annotation_is_picked_first(seed):
    """The published code took row numbers of a permutation for slices, and so picked anything."""
    features, bundles, annotated = planted(seed)
    picks = pick_by_coregcn(make_pool(features, annotated), 3, {"epochs": 60}, rng(seed))
    assert bundles[picks.indices[0]] == 2
    assert picks.nearest[0] is not None
    assert picks.cover_radius is not None


def test_the_network_tells_annotated_slices_apart():
    features, bundles, annotated = planted(7)
    points = embed_by_graph(features, annotated, epochs=200, seed=0)
    assert points.shape == (60, 129)
    assert points[bundles != 2, 128].min() > points[bundles == 2, 128].max()


def test_picks_are_those_of_k_center_greedy_in_the_learned_columns():
    features, _, annotated = planted(3)
    picks = pick_by_coregcn(make_pool(features, annotated), 6, {"epochs": 5}, rng(4))
    points = embed_by_graph(features, annotated, 5, int(rng(4).integers(2**63)))
    assert picks == k_center_greedy(points, annotated, ~annotated, 6, rng())
    assert picks == pick_by_coregcn(make_pool(features, annotated), 6, {"epochs": 5}, rng(4))


def test_the_global_generator_is_left_alone():
    features, _, annotated = planted(3)
    before = torch.get_rng_state()
    embed_by_graph(features, annotated, 2, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_settings_and_features_are_refused():
    features, _, annotated = planted(0)
    with pytest.raises(ConfigError, match="epochs"):
        pick_by_coregcn(make_pool(features, annotated), 3, {"epochs": -1}, rng())
    features[4, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"\(4, 2\)"):
        pick_by_coregcn(make_pool(features, annotated), 3, {}, rng())
