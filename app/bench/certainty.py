"""How sure the means of an experiment are, what differs between its strategies, and what a reader must know of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from app.bench.plan import read_manifest
from app.bench.statistics import bootstrap_error, paired_interval

BASES = ("random", "coreset-pixels", "coreset-imagenet", "coreset-task", "pixels", "imagenet", "nt-xent")
"""What the others are held against, where an experiment has it: chance, Coreset in its forms, and SimCLR alone."""

Judged = dict[str, float]  # patient -> Dice
Runs = dict[int, dict[float, Judged]]  # seed -> budget -> what was judged


@dataclass(frozen=True)
class Cell:
    """One strategy at one budget, over the seeds that have come so far."""

    strategy: str
    budget: float
    seeds: int
    mean: float
    spread: float | None  # standard deviation over the seeds, None of one
    error: float | None  # 2 SE over the test patients, None where runs were judged on different ones
    last: float | None  # mean Dice by the last checkpoints, which need no validation patients


@dataclass(frozen=True)
class Difference:
    """How much better than `base` a strategy is, seed by seed and patient by patient, over all budgets of the plan."""

    strategy: str
    base: str
    seeds: int
    mean: float
    low: float
    high: float


def describe_certainty(out: Path) -> list[Cell]:
    """Every cell of the experiment in `out` that has a Dice, an unfinished one included: its `seeds` tell."""
    cells = []
    manifest = read_manifest(out)
    for strategy, runs in _read_runs(manifest).items():
        for budget in sorted({each for by_budget in runs.values() for each in by_budget}):
            judged = [by_budget[budget] for by_budget in runs.values() if by_budget.get(budget)]
            if not judged:
                continue
            means = [fmean(each.values()) for each in judged]
            alike = all(each.keys() == judged[0].keys() for each in judged)
            cells.append(
                Cell(
                    strategy,
                    budget,
                    len(judged),
                    fmean(means),
                    stdev(means) if len(means) > 1 else None,
                    bootstrap_error([list(each.values()) for each in judged]) if alike else None,
                    _mean_of_last(manifest, strategy, budget),
                )
            )
    return cells


def describe_differences(out: Path) -> list[Difference]:
    """Each strategy against each of BASES that the experiment has, over the seeds that are whole in both."""
    manifest = read_manifest(out)
    runs = _read_runs(manifest)
    budgets = [float(each) for each in manifest["plan"]["budgets"]]
    found = []
    for base in (each for each in BASES if each in runs):
        for strategy in (each for each in runs if each != base):
            pairs = list(_paired(runs[strategy], runs[base], budgets))
            if pairs:
                mean = fmean(fmean(pair) for pair in pairs)
                found.append(Difference(strategy, base, len(pairs), mean, *paired_interval(pairs)))
    return found


def list_remarks(out: Path) -> list[str]:
    """Sentences about what is missing or unequal in the experiment, and about what its validation cost."""
    manifest = read_manifest(out)
    return [*_missing(manifest), *_unequal(manifest), *_validation_cost(manifest)]


def _mean_of_last(manifest: Mapping[str, Any], strategy: str, budget: float) -> float | None:
    rounds = [
        round_["summary"].get("dice_last_checkpoint")
        for run in manifest["runs"].values()
        for percent, round_ in run["rounds"].items()
        if run["strategy"] == strategy and float(percent) == budget
    ]
    known = [dice for dice in rounds if dice is not None]
    return fmean(known) if known else None


def _read_runs(manifest: Mapping[str, Any]) -> dict[str, Runs]:
    runs: dict[str, Runs] = defaultdict(dict)
    for run in manifest["runs"].values():
        runs[run["strategy"]][run["seed"]] = {
            float(budget): {
                code: dice for code, dice in sorted(round_["summary"]["dice_by_patient"].items()) if dice is not None
            }
            for budget, round_ in run["rounds"].items()
        }
    return runs


def _paired(runs: Runs, base: Runs, budgets: list[float]) -> Iterator[list[float]]:
    """For each seed that both went through: every patient's difference, the mean over the budgets."""
    for seed in sorted(runs.keys() & base.keys()):
        both = [(runs[seed].get(budget, {}), base[seed].get(budget, {})) for budget in budgets]
        patients = sorted(both[0][0])
        if patients and all(ours.keys() == theirs.keys() == set(patients) for ours, theirs in both):
            yield [fmean(ours[code] - theirs[code] for ours, theirs in both) for code in patients]


def _missing(manifest: Mapping[str, Any]) -> Iterator[str]:
    plan, runs = manifest["plan"], _read_runs(manifest)
    for strategy, by_seed in runs.items():
        for budget in plan["budgets"]:
            lacking = [str(seed) for seed in plan["seeds"] if not by_seed.get(seed, {}).get(float(budget))]
            if lacking:
                yield f"{strategy} at {budget:g} % lacks the seeds {', '.join(lacking)}: its mean is of the others."
            judged = [by_budget.get(float(budget)) for by_budget in by_seed.values()]
            if len({tuple(each) for each in judged if each}) > 1:
                yield f"{strategy} at {budget:g} % was not judged on the same patients by every seed."


def _unequal(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What was different in the trainings of one budget: strategies are then compared with something else as well."""
    at: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for run in manifest["runs"].values():
        for budget, round_ in run["rounds"].items():
            members = round_.get("members", [])
            if members:
                at[budget]["members"].add(str(len(members)))
            for member in members:
                for name, value in member["config"].items():
                    at[budget][name].add(str(value))
    for budget, fields in at.items():
        for name, values in fields.items():
            if len(values) > 1:
                yield f"At {budget} % trainings differ in {name}: {', '.join(sorted(values))}."


def _validation_cost(manifest: Mapping[str, Any]) -> Iterator[str]:
    rounds = [round_ for run in manifest["runs"].values() for round_ in run["rounds"].values()]
    members = [member for round_ in rounds for member in round_.get("members", [])]
    if members:
        spent = sum(member["validation_seconds"] for member in members)
        share = spent / sum(member["seconds"] for member in members)
        yield (
            "Checkpoints are the best on the validation patients, whose complete masks no budget counts; validation "
            f"took {share:.0%} of the time of training ({spent:.0f} s of {len(members)} members)."
        )
