"""Stochastic batches: of many random batches, the one whose slices are the most uncertain together."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worker.learning.query.pool import (
    Indices,
    Picks,
    QueryPool,
    list_available,
    read_count,
    refuse_unknown_settings,
)
from worker.learning.query.random import pick_without_model
from worker.learning.query.uncertainty import entropy_map

BATCHES = 1000  # random batches that are compared


def pick_by_stochastic_batches(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Pick the batch of highest mean entropy among Q random batches of the query's size, its slices by entropy.

    Source: Gaillochet et al., Medical Image Analysis 2023, Algorithm 1; "Stochastic Batches" of Vepa et al., NeurIPS
    2024. Input: the (M, n, C, S, S) probabilities of M members, streamed; a slice's value is the mean over pixels of
    the entropy of the members' mean. Cost: M forward passes a slice, then O(Q·n). Settings: "batches" is Q (default
    1000); "group_size" g instead cuts the pool into random groups of g and takes whole groups by their mean, as the
    published code of Vepa et al. did with g = 10. Departures from that code: batches have the query's size as in the
    original method, the pool is read without augmentation, and probabilities are always softmax (its pretrained path
    took logarithms of raw logits). With no model yet: `random`.
    """
    refuse_unknown_settings(config, "batches", "group_size")
    batches = read_count(config, "batches", BATCHES)
    group_size = read_count(config, "group_size", budget) if "group_size" in config else None
    available = list_available(pool, budget)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    values = pool.score_by_members(predictive_entropy, available)
    if group_size is None:
        chosen = _best_batch(values, budget, batches, generator)
    else:
        chosen = _best_groups(values, group_size, generator)[:budget]
    return Picks(
        indices=tuple(int(index) for index in available[chosen]),
        values=tuple(float(value) for value in values[chosen]),
        nearest=(None,) * len(chosen),
        cover_radius=None,
    )


def predictive_entropy(maps: Iterable[Tensor]) -> Tensor:
    """Give (B,) from 0 to log C nats: the mean over pixels of the entropy of the mean of `maps`, (B, C, S, S) each."""
    return entropy_map(mean_of_maps(maps)).mean(dim=(1, 2))


def mean_of_maps(maps: Iterable[Tensor]) -> Tensor:
    """Give the mean (B, C, S, S) of at least one map of that shape."""
    rest = iter(maps)
    total, count = next(rest), 1
    for each in rest:
        total = total + each
        count += 1
    return total / count


def _best_batch(values: npt.NDArray[np.float32], budget: int, batches: int, generator: np.random.Generator) -> Indices:
    """The places of the best of `batches` random batches (the first of equals), highest value first."""
    size = min(budget, len(values))
    drawn = [generator.choice(len(values), size=size, replace=False, shuffle=False) for _ in range(batches)]
    best = drawn[int(np.argmax([values[batch].mean(dtype=np.float64) for batch in drawn]))]
    return best[np.argsort(-values[best], kind="stable")]


def _best_groups(values: npt.NDArray[np.float32], group_size: int, generator: np.random.Generator) -> Indices:
    """All places, cut at random into groups of `group_size` (the last may be smaller), the best group first."""
    shuffled = generator.permutation(len(values))
    groups = [shuffled[start : start + group_size] for start in range(0, len(shuffled), group_size)]
    means = np.array([values[group].mean(dtype=np.float64) for group in groups])
    return np.concatenate([groups[place] for place in np.argsort(-means, kind="stable")])
