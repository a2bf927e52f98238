"""Foreground-aware random: most of the budget goes where the last round's members see a structure."""

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

FOREGROUND_SHARE = 0.66  # of the budget


def pick_foreground_aware(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Draw two thirds of the budget from slices with a structure, its class drawn first, and the rest from all.

    Source: "Random 66 % FG" of Lüth et al., nnActive, TMLR 2025, which no uncertainty rule there reliably beat. Setting
    "foreground_share" (default 0.66) is the first part, rounded to whole slices. Input: the (M, n, C, S, S)
    probabilities of M members, streamed and reduced to (n, C) shares of pixels. Each foreground pick draws a class
    evenly among those seen in any open slice, then evenly one of its slices, so that rare structures come as often as
    common ones. Cost: M forward passes a slice, then O(n·C) a pick. Departures: slices instead of 3D patches, and the
    foreground is what the last round's ensemble predicts, because the published rule draws around true labels, which
    nobody has before annotation. With no model yet: `random`. The value of a pick is its predicted share of foreground.
    """
    refuse_unknown_settings(config, "foreground_share")
    share = read_number(config, "foreground_share", FOREGROUND_SHARE, 0, 1)
    available = list_available(pool, budget)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    shares = pool.score_by_members(class_shares, available)
    places = _draw_places(shares[:, 1:] > 0, min(budget, len(available)), round(share * budget), generator)
    foreground = shares[:, 1:].sum(axis=1)
    return Picks(
        indices=tuple(int(available[place]) for place in places),
        values=tuple(float(foreground[place]) for place in places),
        nearest=(None,) * len(places),
        cover_radius=None,
    )


def class_shares(maps: Iterable[Tensor]) -> Tensor:
    """Give (B, C) shares of pixels, adding up to 1, that the mean of `maps` (B, C, S, S) assigns to each class."""
    mean = mean_of_maps(maps)
    classes = torch.arange(mean.shape[1], device=mean.device).view(1, -1, 1, 1)
    return (mean.max(dim=1, keepdim=True).indices == classes).float().mean(dim=(2, 3))


def _draw_places(
    present: npt.NDArray[np.bool_], budget: int, from_foreground: int, generator: np.random.Generator
) -> Indices:
    """Give `budget` different rows of (n, F) `present`: the first ones by class where any is left, the rest evenly."""
    is_open = np.ones(len(present), dtype=bool)
    places: list[int] = []
    while len(places) < min(from_foreground, budget):
        open_present = present & is_open[:, None]
        classes = np.flatnonzero(open_present.any(axis=0))
        if len(classes) == 0:
            break
        place = int(generator.choice(np.flatnonzero(open_present[:, generator.choice(classes)])))
        places.append(place)
        is_open[place] = False
    rest = generator.permutation(np.flatnonzero(is_open))[: budget - len(places)]
    return np.array([*places, *rest], dtype=np.int64)
