"""How sure a mean Dice, or a difference of two, is, from what was kept of each run and patient."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean, pstdev, quantiles

RESAMPLES = 1000


def bootstrap_error(runs: Sequence[Sequence[float]], resamples: int = RESAMPLES) -> float:
    """Twice the standard error of the mean with the judged units drawn anew: the "±" of Vepa et al., NeurIPS 2024.

    `runs` holds a Dice for each unit of each run, all runs over the same units in the same order. For every resample
    the runs' means are averaged; the result is 2 SD over the resamples (ddof 0, as their code has it). They draw
    volumes; `describe_certainty` draws patients, because the two volumes of one are no independent trials. How much
    runs differ does not enter: that is the standard deviation over seeds, which belongs beside it.
    """
    drawn = draw_resamples(len(runs[0]), resamples)
    return 2 * pstdev(fmean(fmean(run[place] for place in places) for run in runs) for places in drawn)


def paired_interval(differences: Sequence[Sequence[float]], resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of a mean paired difference, by the hierarchical bootstrap: runs are drawn, in each of them units.

    `differences` holds one for each unit of each run, units in the same order. Both what runs and what patients are
    chance enters (Davison and Hinkley, Bootstrap Methods and their Application, 1997, Section 3.8); with one run
    the patients alone, which is too narrow for a claim about a strategy.
    """
    means = []
    for number in range(resamples):
        draws = random.Random(number)
        runs = draws.choices(differences, k=len(differences))
        means.append(fmean(fmean(draws.choices(run, k=len(run))) for run in runs))
    ends = quantiles(means, n=40)
    return ends[0], ends[-1]


def draw_resamples(units: int, resamples: int) -> list[list[int]]:
    """Places of units drawn with replacement; the same for all runs, strategies and rounds, so that they are paired."""
    return [random.Random(number).choices(range(units), k=units) for number in range(resamples)]
