"""ClaSP PE: predictive entropy, stratified by class and power-noised, the noise fading as the schedule proceeds."""

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
    read_number,
    refuse_unknown_settings,
)
from worker.learning.query.random import pick_without_model
from worker.learning.query.stochastic import mean_of_maps
from worker.learning.query.uncertainty import entropy_map

CLASS_SHARE = 0.66  # of the budget, shared out evenly among the foreground classes
FIRST_BETA, LAST_BETA = 1.0, 100.0  # inverse scale of the noise in the first and in the last round


def pick_by_clasp_entropy(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Pick by predictive entropy, most of the budget class by class, with Gumbel noise on the logarithm.

    Source: Class-stratified Scheduled Power Predictive Entropy, Lüth et al., TMLR 2026; the noise is the power
    acquisition of Kirsch et al., TMLR 2023: log s + Gumbel(0, 1/beta). Input: the (M, n, C, S, S) probabilities of M
    members, streamed; with p the members' mean and H its entropy, a slice's score for class c is the mean over pixels
    of p_c H, and its plain score the mean of H. Settings: "class_share" (default 0.66) of the budget is shared out
    evenly among the foreground classes, an odd remainder by lot, and the other picks go by the plain score;
    "first_beta" and "last_beta" (1 and 100). Cost: M forward passes a slice, then O(n·C) a pick. Departures: slices
    instead of 3D patches; beta grows geometrically with the part of the project's budgets that is done, between limits
    of ours; classes and plain picks take turns in an order by lot, so that a round cut short is no class's alone. With
    no model yet: `random`. The value of a pick is the noised logarithm that chose it.
    """
    refuse_unknown_settings(config, "class_share", "first_beta", "last_beta")
    share = read_number(config, "class_share", CLASS_SHARE, 0, 1)
    first = read_number(config, "first_beta", FIRST_BETA, 1e-6, 1e12)
    last = read_number(config, "last_beta", LAST_BETA, 1e-6, 1e12)
    available = list_available(pool, budget)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    scores = pool.score_by_members(class_entropies, available).astype(np.float64)
    noised = add_power_noise(scores, first * (last / first) ** pool.progress, generator)
    strata = _draw_strata(min(budget, len(available)), share, scores.shape[1], generator)
    return _pick_by_strata(available, noised, strata)


def class_entropies(maps: Iterable[Tensor]) -> Tensor:
    """Give (B, C) from 0 to log C nats: plain entropy in column 0, class c's part in column c >= 1.

    Column c is the mean over pixels of p_c times the entropy, p the mean of `maps` (B, C, S, S).
    """
    mean = mean_of_maps(maps)
    entropy = entropy_map(mean).unsqueeze(1)
    return torch.cat([entropy, mean[:, 1:] * entropy], dim=1).mean(dim=(2, 3))


def add_power_noise(
    scores: npt.NDArray[np.float64], beta: float, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Give log(scores) + Gumbel(0, 1 / beta), each entry its own draw; a score of 0 counts as the smallest number.

    The highest of the noised entries is then s_i with probability s_i^beta / sum_j s_j^beta.
    """
    logarithms = np.log(np.maximum(scores, np.finfo(np.float64).tiny))
    return logarithms + generator.gumbel(0, 1 / beta, size=scores.shape)


def _draw_strata(budget: int, share: float, columns: int, generator: np.random.Generator) -> Indices:
    """For each pick the column that ranks it, in turns by lot."""
    by_class = round(share * budget)
    each, odd = divmod(by_class, columns - 1)
    lucky = generator.permutation(np.arange(1, columns))[:odd]
    plain = np.zeros(budget - by_class, dtype=np.int64)
    return generator.permutation(np.concatenate([np.repeat(np.arange(1, columns), each), lucky, plain]))


def _pick_by_strata(available: Indices, noised: npt.NDArray[np.float64], strata: Indices) -> Picks:
    """Of the slices still open take the highest of the column that the turn names."""
    left = noised.copy()
    places: list[int] = []
    for column in strata:
        places.append(int(np.argmax(left[:, column])))
        left[places[-1]] = -np.inf
    return Picks(
        indices=tuple(int(available[place]) for place in places),
        values=tuple(float(noised[place, column]) for place, column in zip(places, strata, strict=True)),
        nearest=(None,) * len(places),
        cover_radius=None,
    )
