"""The short form of `benchmarks/lease_storm.py`: no slice is two people's, no acknowledged work is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lease_storm import run_storm
from tests.conftest import POSTGRES_SERVER


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_storm_serves_no_slice_twice_and_loses_nothing(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "postgresql":
        request.getfixturevalue("postgres_of_session")  # skips where no server answers
    server = "sqlite" if engine == "sqlite" else POSTGRES_SERVER
    tally = run_storm(server, tmp_path, clients=8, cycles=10, deaths=0.15, seed=5)
    assert (tally.twice, tally.overlapping, tally.lost, tally.errors) == (0, 0, 0, [])
    assert tally.deaths > 0
    assert tally.cycles > 50
