"""Identifiers: unique, in the order in which they were made, whatever the clock does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db.models import new_id


def test_ids_sort_in_the_order_they_were_made_even_within_one_tick() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {each.version for each in made} == {7}


def test_ids_of_many_threads_are_unique_and_in_order_for_each_of_them() -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: [new_id() for _ in range(1_000)], range(8)))
    assert all(run == sorted(run) for run in runs)
    assert len({each for run in runs for each in run}) == 8_000


def test_a_clock_that_stands_still_or_goes_back_changes_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    made = [before, new_id(), new_id()]
    assert made == sorted(made)


def test_an_id_holds_its_time() -> None:
    milliseconds = new_id().int >> 80
    assert abs(milliseconds - time.time() * 1000) < 5_000
