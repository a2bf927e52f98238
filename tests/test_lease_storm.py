"""The short form of `benchmarks/lease_storm.py`: no slice is two people's, no acknowledged work is lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.lease_storm import Tally, note_holder, run_storm
from tests.conftest import POSTGRES_SERVER


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_storm_serves_no_slice_twice_and_loses_nothing(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "postgresql":
        request.getfixturevalue("postgres_of_session")  # skips where no server answers
    server = "sqlite" if engine == "sqlite" else POSTGRES_SERVER
    tally = run_storm(server, tmp_path, clients=8, cycles=10, deaths=0.15, seed=5)
    assert (tally.twice, tally.overlapping, tally.lost, tally.errors) == ([], 0, 0, [])
    assert tally.deaths > 0
    assert tally.cycles > 50


def test_the_judge_sees_a_slice_that_two_hold() -> None:
    tally = Tally()
    hear(tally, "anna", 900)
    hear(tally, "anna", 3)
    assert tally.twice == [], "one's own lease again"
    hear(tally, "bert", 900)
    assert (len(tally.twice), tally.unknowing) == (1, 0)
    hear(tally, "anna", 3)
    assert len(tally.twice) == 2, "a heartbeat that was accepted though the slice is somebody else's"


def test_the_judge_takes_no_answer_for_a_lease_that_came_after_its_end() -> None:
    tally = Tally()
    hear(tally, "anna", 900)
    tally.beating["anna"] = time.monotonic() - 3.5  # for as long as the liveness clock runs, and longer
    hear(tally, "bert", 900)
    assert (len(tally.twice), tally.unknowing) == (0, 1)
    hear(tally, "anna", -0.5)
    assert (len(tally.twice), tally.unknowing) == (0, 1), "the one hand-over is counted once"
    hear(tally, "carl", 900)
    assert len(tally.twice) == 1, "and the slice is still known as bert's"


def test_who_hears_that_their_lease_is_over_holds_nothing_any_more() -> None:
    tally = Tally()
    hear(tally, "anna", 900)
    hear(tally, "anna", -0.5)
    hear(tally, "bert", 900)
    assert (len(tally.twice), tally.unknowing) == (0, 0)
    hear(tally, "carl", 900)
    assert len(tally.twice) == 1


def hear(tally: Tally, name: str, seconds: float) -> None:
    """Let somebody hear, just after they asked, that the slice is theirs for so long."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    note_holder(tally, "slice", name, time.monotonic(), until.isoformat())
