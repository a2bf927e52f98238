"""Kill -9 of API, worker and PostgreSQL in mid-write, Redis emptied in mid-round: the benchmark in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kill_trials import VICTIMS, run_flushed_round, run_trials
from benchmarks.stack import StackUnavailable, running_stack


def test_a_kill_of_each_part_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    try:
        with running_stack(tmp_path / "stack", workers=("cpu",)) as stack:
            report = run_trials(stack, tmp_path / "hearts", trials=len(VICTIMS), rounds=False)
    except StackUnavailable as error:
        pytest.skip(str(error))
    assert report.kills == dict.fromkeys(VICTIMS, 1)
    assert report.acknowledged > 20
    assert (report.lost, report.unexplained) == ([], [])
    assert set(report.jobs) | set(report.interrupted_as) <= {"succeeded", "failed"}


def test_two_apis_and_two_workers_share_a_round_while_redis_forgets(tmp_path: Path) -> None:
    try:
        with running_stack(tmp_path / "stack", apis=2, workers=("gpu,cpu", "gpu,cpu")) as stack:
            closed = run_flushed_round(stack, tmp_path / "hearts")
    except StackUnavailable as error:
        pytest.skip(str(error))
    assert closed["state"] == "closed"
    assert closed["summary"]["volumes"] == 4
