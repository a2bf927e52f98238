"""Settings of a project that are changed at the very moment when something else happens to it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from app.db.models import Project
from app.db.session import Database
from app.errors import RoundStateConflict
from app.outbox import SilentBell, unit_of_work
from app.services.project_settings import ANY_TAG, ProjectChange, change_project
from app.services.rounds import open_round
from tests.rows import add_project, add_slices


def test_readers_that_are_changed_while_the_first_round_opens_stay_as_they_were(database: Database) -> None:
    with unit_of_work(database, SilentBell()) as session:
        add_slices(session, add_project(session), 100)

    def change_readers() -> None:
        with unit_of_work(database, SilentBell()) as session:
            project = session.scalars(select(Project)).one()
            change_project(session, project, ProjectChange(overlap=2), ANY_TAG)

    with ThreadPoolExecutor(1) as other:
        with unit_of_work(database, SilentBell()) as session:
            open_round(session, session.scalars(select(Project)).one())
            changing = other.submit(change_readers)
            time.sleep(0.3)  # it has read what there is, and waits for the project
            assert not changing.done()
        with pytest.raises(RoundStateConflict, match="before the first round"):
            changing.result(timeout=20)
    with database.reading() as session:
        assert session.scalars(select(Project.overlap)).one() == 1
