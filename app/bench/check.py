"""Whether the folder of an experiment is whole and says one thing: what `nextslice bench verify` looks for."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.bench.plan import read_manifest
from app.bench.report import RESULTS
from app.datasets.records import TRAIN, DatasetListing
from app.datasets.splits import split_checksum


def find_faults(out: Path, listing: DatasetListing | None = None) -> list[str]:
    """Sentences about what is missing or contradicts itself; with the `listing` of its data, about that too.

    Raises `ExperimentMissing` where there is no experiment.
    """
    manifest = read_manifest(out)
    faults = [*_unfinished(manifest), *_picked_wrongly(manifest), *_rows_amiss(out, manifest)]
    if listing is not None:
        faults += _of_other_data(manifest, listing)
    return faults


def _unfinished(manifest: Mapping[str, Any]) -> Iterator[str]:
    plan, runs = manifest["plan"], list(manifest["runs"].values())
    if len({run["strategy"] for run in runs}) * len(plan["seeds"]) != len(runs) or not runs:
        yield "Not every strategy was run with every seed of the plan."
    for run in runs:
        lacking = [f"{budget:g} %" for budget in plan["budgets"] if f"{budget:g}" not in run["rounds"]]
        if lacking:
            yield f"{_name(run)} lacks {', '.join(lacking)}."


def _picked_wrongly(manifest: Mapping[str, Any]) -> Iterator[str]:
    for run in manifest["runs"].values():
        seen: set[tuple[str, str, int]] = set()
        for budget, round_ in sorted(run["rounds"].items(), key=lambda each: float(each[0])):
            picks = [(pick["patient"], pick["volume"], pick["slice"]) for pick in round_["picks"]]
            if seen & set(picks) or len(set(picks)) < len(picks):
                yield f"{_name(run)} picked a slice a second time at {budget} %."
            seen |= set(picks)
            if len(seen) != round_["slices"]:
                yield f"{_name(run)} has {len(seen)} picks at {budget} %, and the budget is {round_['slices']}."


def _rows_amiss(out: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    wanted = {
        (run["strategy"], str(run["seed"]), budget) for run in manifest["runs"].values() for budget in run["rounds"]
    }
    path = out / RESULTS
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []
    keys = [(row["strategy"], row["seed"], row["budget_percent"]) for row in rows]
    whole = [(*key, row["member"], row["class_value"]) for key, row in zip(keys, rows, strict=True)]
    if len(set(whole)) < len(whole):
        yield f"{RESULTS} has a row twice."
    if set(keys) != wanted:
        yield f"{RESULTS} and the manifest name other rounds: {len(set(keys) ^ wanted)} are in one alone."


def _of_other_data(manifest: Mapping[str, Any], listing: DatasetListing) -> Iterator[str]:
    kept = manifest.get("splits")  # experiments of before 2026-12 have none
    if kept is not None and kept["sha256"] != split_checksum(listing):
        yield "The data have other splits than those of the experiment."
    patients = set(listing.patients(TRAIN))
    for run in manifest["runs"].values():
        strange = {pick["patient"] for each in run["rounds"].values() for pick in each["picks"]} - patients
        if strange:
            yield f"{_name(run)} picked slices of {', '.join(sorted(strange))}, no train patients of these data."


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['strategy']}, seed {run['seed']},"
