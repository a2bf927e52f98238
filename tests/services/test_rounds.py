"""A round closes whatever comes next, and what comes next is the next budget that adds a slice."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from app.db.models import Metric, Project, Round, Slice
from app.db.session import Database
from app.errors import NothingLeft, RoundOpen
from app.names import RoundState
from app.outbox import SilentBell, unit_of_work
from app.services import rounds
from tests.rows import add_project, add_slices, propose_all


def make_round(
    database: Database, budgets: Sequence[float], picked: int, count: int = 144, state: str = RoundState.EVALUATING
) -> uuid.UUID:
    """The first round of a project that goes on by itself: at its first budget, with so many slices proposed."""
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        project.strategy, project.budgets, project.auto_propose = "random", list(budgets), True
        first = propose_all(session, project, add_slices(session, project, count)[:picked])
        first.budget_percent, first.target, first.state = budgets[0], picked, state
        return first.id


def evaluate(database: Database, round_id: uuid.UUID) -> Round | None:
    """Record an evaluation, as its job does: gives the round that was opened."""
    with unit_of_work(database, SilentBell()) as session:
        round_ = session.get_one(Round, round_id)
        volume_id = session.scalars(select(Slice.volume_id).limit(1)).one()
        measured = Metric(round_id=round_id, volume_id=volume_id, split="test", class_value=1, dice=0.5, hd95_unit="mm")
        measured.missed, measured.slice_counts = False, []
        return rounds.record_evaluation(session, round_, [measured], {"dice": 0.5})


def rounds_of(database: Database) -> list[tuple[int, float, int, str]]:
    with database.reading() as session:
        found = session.scalars(select(Round).order_by(Round.number))
        return [(each.number, each.budget_percent, each.target, each.state) for each in found]


def open_next(database: Database) -> Round:
    with unit_of_work(database, SilentBell()) as session:
        return rounds.open_round(session, session.scalars(select(Project)).one())


def test_a_budget_that_adds_no_slice_is_passed_over(database: Database) -> None:
    first = make_round(database, [5, 5.2, 50], picked=7)
    opened = evaluate(database, first)
    assert opened is not None
    assert rounds_of(database) == [(1, 5, 7, "closed"), (2, 50, 72, "proposing")]
    with database.reading() as session:
        assert session.scalars(select(Metric.dice)).all() == [0.5]


def test_budgets_reached_by_what_was_annotated_besides_are_passed_over(database: Database) -> None:
    first = make_round(database, [5, 10, 50], picked=20)
    opened = evaluate(database, first)
    assert opened is not None
    assert rounds_of(database)[1] == (2, 50, 72, "proposing")


def test_a_round_closes_where_no_budget_of_the_schedule_adds_a_slice(database: Database) -> None:
    first = make_round(database, [5, 5.2], picked=7)
    assert evaluate(database, first) is None
    assert rounds_of(database) == [(1, 5, 7, "closed")]
    with pytest.raises(NothingLeft, match=r"no budget of the project adds a slice to the 7 that are annotated"):
        open_next(database)


def test_asked_for_without_a_budget_the_next_round_passes_over_what_adds_none(database: Database) -> None:
    make_round(database, [5, 5.2, 50], picked=7, state=RoundState.CLOSED)
    assert (open_next(database).budget_percent, rounds_of(database)[1][2]) == (50, 72)


@pytest.mark.parametrize("later", [RoundState.ANNOTATING, RoundState.FAILED])
def test_an_earlier_round_that_is_trained_again_closes_and_opens_nothing(database: Database, later: str) -> None:
    first = make_round(database, [5, 10, 50], picked=7, state=RoundState.CLOSED)
    second = open_next(database)
    with unit_of_work(database, SilentBell()) as session:
        session.get_one(Round, second.id).state = later
        session.get_one(Round, first).state = RoundState.EVALUATING
    assert evaluate(database, first) is None
    assert rounds_of(database) == [(1, 5, 7, "closed"), (2, 10, 14, later)]


def test_a_round_is_refused_while_one_is_open(database: Database) -> None:
    make_round(database, [5, 10], picked=7)
    with pytest.raises(RoundOpen):
        open_next(database)
