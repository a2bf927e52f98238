"""Rules that ask the members of the last round where they are unsure, slice by slice."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
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


def pick_by_variance_ratio(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Pick the slices on whose pixels the members' votes differ most: v = mean over pixels of 1 - f_mode / M.

    Source: Freeman's variation ratio asked of ensembles, as by Beluch et al., CVPR 2018; the rows "Variance Ratio" of
    Vepa et al., NeurIPS 2024, Table 1. Input: the (M, n, C, S, S) probabilities of the M members for the n available
    slices, streamed; f_mode is how many members name the commonest class of a pixel. Cost: M forward passes a slice and
    O(n·C·S²) counting, O(n) memory. Departures: the pool is read without augmentation, so that the members' pixels
    belong together (the published code turned each member's slices its own way); equal values, which a single member
    always gives, are ranked by the generator and not by file name. With no model yet: `random`.
    """
    refuse_unknown_settings(config)
    available = list_available(pool, budget)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    return pick_highest(available, pool.score_by_members(variance_ratio, available), budget, generator)


def pick_by_bald(pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator) -> Picks:
    """Pick the slices whose prediction tells most about the weights: mean over pixels of H(mean_t p_t) - mean_t H(p_t).

    Source: Houlsby et al., 2011, Eq. 2, with the dropout passes t = 1..T of Gal et al., ICML 2017; "BALD" of Vepa et
    al., NeurIPS 2024. Setting "passes" is T (default 40, as there). Input: T probability maps (n, C, S, S) of each of
    M members, streamed; what the members tell is averaged. Cost: M·T forward passes a slice, O(n) memory. Departures:
    dropout alone is switched on, and batch norm keeps its learned statistics (the published code took them from 40
    copies of one turned slice, and changed them); the pool is read without augmentation; equal values are ranked by
    the generator. With no model yet: `random`.
    """
    refuse_unknown_settings(config, "passes")
    passes = read_count(config, "passes", 40)
    available = list_available(pool, budget)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    seed = int(generator.integers(2**63))
    values = pool.score_by_dropout(mutual_information, available, passes, seed).mean(axis=0)
    return pick_highest(available, values, budget, generator)


def variance_ratio(maps: Iterable[Tensor]) -> Tensor:
    """Give (B,) in [0, 1 - 1 / M]: the mean over pixels of the share of members outside the commonest vote.

    `maps` are M probability tensors (B, C, S, S); equal probabilities vote for the lowest class.
    """
    votes, members = torch.zeros(()), 0
    for probabilities in maps:
        classes = torch.arange(probabilities.shape[1], device=probabilities.device).view(1, -1, 1, 1)
        vote = (probabilities.max(dim=1, keepdim=True).indices == classes).to(torch.uint8)
        votes = vote if members == 0 else votes + vote
        members += 1
    # Votes are added up as whole numbers: slices with as many dissenters have the same value to the last bit.
    agreeing = votes.amax(dim=1).sum(dim=(1, 2), dtype=torch.int64)
    return (1 - agreeing.double() / (members * votes[0, 0].numel())).float()


def mutual_information(maps: Iterable[Tensor]) -> Tensor:
    """Give (B,) from 0 to log C nats: the mean over pixels of H(mean of `maps`) - mean of H(`maps`), (B, C, S, S) each.

    At least 0 but for rounding.
    """
    total, expected, passes = torch.zeros(()), torch.zeros(()), 0
    for probabilities in maps:
        entropy = entropy_map(probabilities)
        total = probabilities if passes == 0 else total + probabilities
        expected = entropy if passes == 0 else expected + entropy
        passes += 1
    return (entropy_map(total / passes) - expected / passes).mean(dim=(1, 2))


def entropy_map(probabilities: Tensor) -> Tensor:
    """Give the entropy (B, S, S) in nats of (B, C, S, S); a class of probability 0 adds nothing."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(dim=1)


def pick_highest(
    candidates: Indices, values: npt.NDArray[np.floating], budget: int, generator: np.random.Generator
) -> Picks:
    """Pick the `budget` candidates of highest value (n,), equal ones in an order drawn from the generator."""
    order = np.lexsort((generator.random(len(candidates)), -values))[:budget]
    return Picks(
        indices=tuple(int(index) for index in candidates[order]),
        values=tuple(float(value) for value in values[order]),
        nearest=(None,) * len(order),
        cover_radius=None,
    )
