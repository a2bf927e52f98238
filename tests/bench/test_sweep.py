"""Every strategy through its rounds, by scribbles and by masks; and no answer is seen before it is given."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.datasets.phantom import PhantomConfig, list_phantoms
from app.names import STRATEGIES, Supervision
from benchmarks.recipe_study import Prepared
from benchmarks.strategy_sweep import LINES, table
from benchmarks.sweep_rounds import Sweep, prepare_sweep, run_rounds

SMALL = {
    "members": 2,
    "encoder": {"start": "scratch"},
    "segmentation": {"iterations_min": 2, "iterations_max": 2, "validate_every": 2},
}
SETTINGS: dict[str, dict[str, Any]] = {"bald": {"passes": 2}, "coregcn": {"epochs": 5}, "vaal": {"epochs": 1}}
POSSIBLE = [name for name in STRATEGIES if name != "coreset-imagenet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep")
    list_phantoms(out / "hearts", config=PhantomConfig(5, 4, 32, 32, seed=2, fractions=(0.6, 0.2, 0.2)))
    return out


def sweep_of(strategy: str, supervision: Supervision) -> Sweep:
    return Sweep("acdc", "tiny", SMALL, supervision, strategy, SETTINGS.get(strategy, {}), 1, (10.0, 20.0))


@pytest.fixture(scope="module")
def prepared(folder: Path) -> dict[Supervision, Prepared]:
    kinds = (Supervision.SCRIBBLE, Supervision.FULL)
    return {kind: prepare_sweep(sweep_of("gcl", kind), folder / "hearts") for kind in kinds}


@pytest.fixture(scope="module")
def runs(folder: Path, prepared: dict[Supervision, Prepared]) -> dict[tuple[str, Supervision], list[dict[str, Any]]]:
    return {
        (strategy, supervision): list(run_rounds(sweep_of(strategy, supervision), data, folder / "artefacts", []))
        for supervision, data in prepared.items()
        for strategy in POSSIBLE
    }


def test_every_strategy_goes_through_its_rounds_by_scribbles_and_by_masks(
    runs: dict[tuple[str, Supervision], list[dict[str, Any]]],
) -> None:
    assert len(runs) == 2 * len(POSSIBLE)
    for lines in runs.values():
        assert [line["slices"] for line in lines] == [2, 4]
        assert len({pick for line in lines for pick in line["picks"]}) == 4, "no slice twice, over the rounds either"
        assert all(0 <= line["dice"] <= 1 and len(line["dice_by_member"]) == 2 for line in lines)
        assert all(line["cpu_s"] >= line["choosing_cpu_s"] > 0 and line["peak_mib"] > 0 for line in lines)


def test_the_same_start_is_trained_once(runs: dict[tuple[str, Supervision], list[dict[str, Any]]]) -> None:
    first, other = (runs[name, Supervision.SCRIBBLE][0] for name in ("random", "bald"))
    assert first["picks"] == other["picks"]
    assert first["dice_by_member"] == other["dice_by_member"]
    assert other["spent_cpu_s"] < other["cpu_s"]


def test_a_stopped_sweep_goes_on_with_the_same_picks(
    folder: Path, prepared: dict[Supervision, Prepared], runs: dict[tuple[str, Supervision], list[dict[str, Any]]]
) -> None:
    whole = runs["clasp-pe", Supervision.SCRIBBLE]
    sweep = sweep_of("clasp-pe", Supervision.SCRIBBLE)
    (rest,) = run_rounds(sweep, prepared[Supervision.SCRIBBLE], folder / "artefacts", whole[:1])
    assert rest["picks"] == whole[1]["picks"]
    assert rest["dice"] == whole[1]["dice"]


@pytest.mark.parametrize("supervision", [Supervision.SCRIBBLE, Supervision.FULL])
@pytest.mark.parametrize("strategy", POSSIBLE)
def test_garbage_in_place_of_unrevealed_labels_changes_no_pick(
    strategy: str,
    supervision: Supervision,
    folder: Path,
    prepared: dict[Supervision, Prepared],
    runs: dict[tuple[str, Supervision], list[dict[str, Any]]],
) -> None:
    """What nobody has annotated may be anything: the members trained meanwhile, and their picks, stay the same."""
    data = prepared[supervision]
    lines = runs[strategy, supervision]
    unrevealed = torch.ones(len(data.labels), dtype=torch.bool)
    unrevealed[lines[0]["picks"]] = False
    noise = torch.randint(0, data.classes, data.labels.shape, generator=torch.Generator().manual_seed(0))
    garbage = torch.where(unrevealed[:, None, None], noise.to(torch.uint8), data.labels)
    assert not torch.equal(garbage, data.labels)
    other = dataclasses.replace(data, labels=garbage)
    again = list(run_rounds(sweep_of(strategy, supervision), other, folder / f"garbage-{supervision}", []))
    assert [line["picks"] for line in again] == [line["picks"] for line in lines]


def test_what_cannot_run_is_refused_and_the_table_says_so(
    folder: Path,
    prepared: dict[Supervision, Prepared],
    runs: dict[tuple[str, Supervision], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(folder))
    sweep = sweep_of("coreset-imagenet", Supervision.FULL)
    (refused,) = run_rounds(sweep, prepared[Supervision.FULL], folder / "artefacts", [])
    lines = [*runs["gcl", Supervision.FULL], refused]
    (folder / LINES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    table(folder)
    said = capsys.readouterr().out
    assert "| full | gcl |" in said
    assert "full coreset-imagenet: ImageNet weights of a ResNet-18" in said
