"""The table of an experiment says what the service says."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.bench.certainty import describe_certainty, describe_differences, list_remarks
from app.bench.check import find_faults
from app.bench.plan import MANIFEST
from app.bench.report import RESULTS, summarise_results
from app.bench.statistics import bootstrap_error, paired_interval
from app.errors import ExperimentMissing
from tests import oracles


def test_the_table_has_the_headline_dice_of_the_rounds(tmp_path: Path) -> None:
    def run(strategy: str, **dice: float | None) -> dict[str, object]:
        # Of volumes with .9 and nothing, and with .5 and .7, the headline is .75; a mean of classes would be .7.
        return {"strategy": strategy, "rounds": {budget[1:]: {"summary": {"dice": dice[budget]}} for budget in dice}}

    runs = {"a": run("gcl", b2=0.75, b3=None), "b": run("gcl", b2=0.25, b3=0.5), "c": run("random", b2=0.5)}
    (tmp_path / MANIFEST).write_text(json.dumps({"runs": runs}), encoding="utf-8")
    assert summarise_results(tmp_path) == {"gcl": {2.0: 0.5, 3.0: 0.5}, "random": {2.0: 0.5}}


def experiment(out: Path, runs: list[tuple[str, int, dict[float, dict[str, float | None]]]], **of_round: Any) -> None:
    """Write the manifest of an experiment of two budgets and two seeds; `of_round` is kept with every round."""
    kept = {
        f"run-{number}": {
            "strategy": strategy,
            "seed": seed,
            "rounds": {
                f"{budget:g}": {"summary": {"dice_by_patient": judged}, **of_round} for budget, judged in rounds.items()
            },
        }
        for number, (strategy, seed, rounds) in enumerate(runs)
    }
    plan = {"budgets": [2.0, 3.0], "seeds": [1, 2]}
    (out / MANIFEST).write_text(json.dumps({"plan": plan, "runs": kept}), encoding="utf-8")


def test_differences_are_paired_by_seed_and_patient_over_the_budgets(tmp_path: Path) -> None:
    runs = [
        ("random", 1, {2.0: {"a": 0.1, "b": 0.2}, 3.0: {"a": 0.3, "b": 0.4}}),
        ("random", 2, {2.0: {"a": 0.2, "b": 0.2}, 3.0: {"a": 0.2, "b": 0.2}}),
        ("gcl", 1, {2.0: {"a": 0.2, "b": 0.2}, 3.0: {"a": 0.4, "b": 0.6}}),  # .1 and .1 of a, 0 and .2 of b
        ("gcl", 2, {2.0: {"a": 0.5, "b": 0.5}, 3.0: {"a": 0.5, "b": 0.5}}),
    ]
    experiment(tmp_path, runs)
    (found,) = describe_differences(tmp_path)
    assert (found.strategy, found.base, found.seeds) == ("gcl", "random", 2)
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.1, 0.3))
    assert list_remarks(tmp_path) == []


def test_what_is_not_there_is_said_and_counted(tmp_path: Path) -> None:
    runs = [
        ("random", 1, {2.0: {"a": 0.1}, 3.0: {"a": 0.3}}),
        ("gcl", 1, {2.0: {"a": 0.2}, 3.0: {"a": 0.4}}),
        ("gcl", 2, {2.0: {"a": 0.6, "b": 0.6}}),
    ]
    experiment(tmp_path, runs)
    cells = {(cell.strategy, cell.budget): cell for cell in describe_certainty(tmp_path)}
    assert (cells["gcl", 2].seeds, cells["gcl", 3].seeds, cells["random", 2].seeds) == (2, 1, 1)
    assert cells["gcl", 2].mean == pytest.approx(0.4)
    assert cells["gcl", 2].error is None, "not the same patients"
    said = list_remarks(tmp_path)
    assert said == [
        "random at 2 % lacks the seeds 2: its mean is of the others.",
        "random at 3 % lacks the seeds 2: its mean is of the others.",
        "gcl at 2 % was not judged on the same patients by every seed.",
        "gcl at 3 % lacks the seeds 2: its mean is of the others.",
    ]
    (found,) = describe_differences(tmp_path)
    assert (found.seeds, found.mean) == (1, pytest.approx(0.1))


def test_unequal_trainings_and_the_cost_of_validation_are_said(tmp_path: Path) -> None:
    def member(batch: int) -> dict[str, Any]:
        return {"config": {"batch_size": batch, "iterations": 9}, "seconds": 8.0, "validation_seconds": 2.0}

    whole = {2.0: {"a": 0.1}, 3.0: {"a": 0.3}}
    runs = [(strategy, seed, whole) for strategy in ("gcl", "random") for seed in (1, 2)]
    experiment(tmp_path, runs, members=[member(6), member(6)])
    (cost,) = list_remarks(tmp_path)
    assert "validation took 25% of the time of training (32 s of 16 members)" in cost
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["runs"]["run-3"]["rounds"]["3"]["members"] = [member(6), member(3)]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert list_remarks(tmp_path)[0] == "At 3 % trainings differ in batch_size: 3, 6."


rectangles = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(st.floats(-1, 1), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


@settings(max_examples=30, deadline=None)
@given(rectangles)
def test_statistics_equal_their_loops(runs: list[list[float]]) -> None:
    assert bootstrap_error(runs, 60) == pytest.approx(oracles.bootstrap_error_by_loops(runs, 60), abs=1e-9)
    ends = paired_interval(runs, 60)
    assert ends == pytest.approx(oracles.paired_interval_by_loops(runs, 60), abs=1e-9)
    assert ends[0] <= ends[1]
    if len(runs) == len(runs[0]) == 1:
        assert ends == pytest.approx((fmean(runs[0]), fmean(runs[0])))


def test_a_folder_without_an_experiment_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for content in (None, b"", b'{"plan": ', b"\xff\xfe"):
        if content is not None:
            (tmp_path / MANIFEST).write_bytes(content)
        for tell in (describe_certainty, summarise_results, find_faults):
            with pytest.raises(ExperimentMissing, match="holds no experiment"):
                tell(tmp_path)


def test_what_is_amiss_in_an_experiment_is_found(tmp_path: Path) -> None:
    """The whole one is checked in test_bench.py, on what a real experiment wrote."""

    def picks(*slices: int) -> list[dict[str, Any]]:
        return [{"patient": "p1", "volume": "v", "slice": each} for each in slices]

    whole = {"2": {"slices": 2, "picks": picks(0, 1)}, "3": {"slices": 3, "picks": picks(2)}}
    runs = {
        "a": {"strategy": "gcl", "seed": 1, "rounds": whole},
        "b": {"strategy": "gcl", "seed": 2, "rounds": whole | {"3": {"slices": 3, "picks": picks(1)}}},
        "c": {"strategy": "random", "seed": 1, "rounds": {"2": whole["2"]}},
    }
    plan = {"budgets": [2.0, 3.0], "seeds": [1, 2]}
    (tmp_path / MANIFEST).write_text(json.dumps({"plan": plan, "runs": runs}), encoding="utf-8")
    row = "{},{},{},0,1\n"
    rows = [row.format(*each) for each in (("gcl", 1, 2), ("gcl", 1, 3), ("gcl", 2, 2), ("gcl", 2, 3), ("gcl", 2, 3))]
    (tmp_path / RESULTS).write_text("strategy,seed,budget_percent,member,class_value\n" + "".join(rows))
    assert find_faults(tmp_path) == [
        "Not every strategy was run with every seed of the plan.",
        "random, seed 1, lacks 3 %.",
        "gcl, seed 2, picked a slice a second time at 3 %.",
        "gcl, seed 2, has 2 picks at 3 %, and the budget is 3.",
        "results.csv has a row twice.",
        "results.csv and the manifest name other rounds: 1 are in one alone.",
    ]
