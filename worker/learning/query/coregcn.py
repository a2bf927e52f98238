"""CoreGCN: a graph network learns which slices are annotated, and K-Center Greedy spreads over what it has learned."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from worker.learning.errors import NonFiniteError
from worker.learning.query.coreset import k_center_greedy
from worker.learning.query.geometry import bring_to_length_one
from worker.learning.query.pool import (
    Features,
    Flags,
    Picks,
    QueryPool,
    list_available,
    read_count,
    refuse_unknown_settings,
)
from worker.learning.query.random import pick_without_model
from worker.learning.seeding import derive_seed, seeded_initialisation

HIDDEN = 128
DROPOUT = 0.3
EPOCHS = 200
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 5e-4
UNLABELLED_WEIGHT = 1.2  # of the unlabelled slices' part of the loss
EPSILON = 1e-10


def pick_by_coregcn(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on the hidden layer of a graph network that tells annotated slices from the others.

    Source: Caramalau et al., CVPR 2021, Section 3 (CoreGCN); "CoreGCN" of Vepa et al., NeurIPS 2024. Input: (N, 256)
    bottleneck features of the last round's best member. The graph joins slices by the cosine of their features; two
    graph convolutions, D to 128 to 1, are trained for 200 full passes, and distances are measured in 129 columns, the
    hidden ones beside the score before its sigmoid. Setting "epochs" (default 200). Cost: O(N²·(D + 128·epochs)) and
    O(N²) memory, then O(N) a pick. Departures: rows stay in the order of the pool, so that a pick is the slice it was
    computed for (the published code permutes the rows and takes their numbers for the slices'); the bottleneck stands
    for a million full-resolution columns; the network is read without dropout. With no model yet: `random`.
    """
    refuse_unknown_settings(config, "epochs")
    epochs = read_count(config, "epochs", EPOCHS)
    list_available(pool, budget)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    seed = int(generator.integers(2**63))
    points = embed_by_graph(pool.task_features(), pool.annotated, epochs, seed)
    return k_center_greedy(points, pool.annotated, pool.available, budget, generator)


def embed_by_graph(features: Features, annotated: Flags, epochs: int, seed: int) -> Features:
    """Give the (N, 129) hidden columns and score of a graph network trained to tell `annotated` from the rest.

    Equal seeds give equal columns on one machine. Raises NonFiniteError where the training did not hold.
    """
    scaled = bring_to_length_one(features)
    columns, graph = torch.from_numpy(scaled), torch.from_numpy(join_by_cosine(scaled))
    labelled = torch.from_numpy(annotated)
    # Dropout takes no generator of its own, so it draws inside the seeded stretch as well.
    with seeded_initialisation(derive_seed(seed, "coregcn")):
        network = GraphNetwork(features.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        network.train()
        for _ in range(epochs):
            loss = graph_loss(network(columns, graph)[1].sigmoid(), labelled)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.inference_mode():
        hidden, scores = network.eval()(columns, graph)
        points: Features = torch.cat([hidden, scores[:, None]], dim=1).numpy()
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise NonFiniteError("columns of the graph network", [int(bad[0])])
    return points


def join_by_cosine(scaled: Features) -> npt.NDArray[np.float32]:
    """Give the (N, N) graph of (N, D) features of length 1: cosines with zeros on the diagonal, each column divided by
    its sum, and 1 added on the diagonal.
    """
    cosines = scaled @ scaled.T
    np.fill_diagonal(cosines, 0)
    graph: npt.NDArray[np.float32] = cosines / (cosines.sum(axis=0, keepdims=True) + np.float32(EPSILON))
    np.fill_diagonal(graph, 1)
    return graph


def graph_loss(probabilities: Tensor, labelled: Tensor) -> Tensor:
    """Give -mean log p over `labelled` (N,) bool - 1.2 · mean log(1 - p) over the others, p (N,) in (0, 1)."""
    ours = torch.log(probabilities[labelled] + EPSILON)
    others = torch.log(1 - probabilities[~labelled] + EPSILON)
    # Of an empty part nothing is asked; its mean would be NaN.
    return -(ours.sum() / max(1, len(ours)) + UNLABELLED_WEIGHT * others.sum() / max(1, len(others)))


class GraphNetwork(nn.Module):
    """Two graph convolutions, X -> A X W + b: `inputs` columns to 128 with ReLU and dropout, then to one score."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, 1)
        for layer in (self.first, self.second):
            bound = layer.out_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, columns: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
        """Give the hidden columns (N, 128) after the ReLU and the scores (N,) before the sigmoid."""
        hidden = torch.relu(graph @ (columns @ self.first.weight.T) + self.first.bias)
        scores = graph @ (self.dropout(hidden) @ self.second.weight.T) + self.second.bias
        return hidden, scores[:, 0]
