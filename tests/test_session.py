"""Sessions, and a database server that is not there: who starts beside it waits, and who waits in vain says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.exc import OperationalError

from app.db.models import Project
from app.db.session import TRUSTED_S, Database, wait_until_reachable
from tests.rows import add_project

NOBODY = "postgresql://postgres@127.0.0.1:1/nothing"


def test_a_server_that_does_not_come_is_waited_for_and_then_named() -> None:
    database = Database(NOBODY)
    began = time.monotonic()
    with pytest.raises(OperationalError, match="refused"):
        wait_until_reachable(database, seconds=0.5)
    assert 0.5 < time.monotonic() - began < 5
    database.dispose()


def test_a_file_is_not_waited_for(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    wait_until_reachable(database)
    database.dispose()


def test_a_server_that_is_there_is_not_waited_for(postgres_url: str) -> None:
    database = Database(postgres_url)
    began = time.monotonic()
    wait_until_reachable(database)
    assert time.monotonic() - began < 0.9
    database.dispose()


def test_limits_of_the_address_are_kept_and_the_others_added(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?connect_timeout=3")
    with database.engine.connect() as connection:
        known = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    assert (known["connect_timeout"], known["tcp_user_timeout"]) == ("3", "60000")
    database.dispose()


def test_a_reading_session_refuses_to_write(database: Database) -> None:
    with database.reading() as session:
        with pytest.raises(RuntimeError, match="reading session"):
            add_project(session)
        session.rollback()
        with pytest.raises(RuntimeError, match="reading session"):
            session.execute(delete(Project))
        with pytest.raises(RuntimeError, match="to lock rows"):
            session.scalars(select(Project).with_for_update())
    with database.reading() as session:
        assert session.scalars(select(Project.id)).all() == []


def test_connections_that_a_server_ended_while_they_rested_are_replaced(postgres_url: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)
    with database.reading() as session:
        ended = session.scalars(text("SELECT pg_backend_pid()")).one()
    with other.reading() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": ended})
    time.sleep(TRUSTED_S)
    with database.reading() as session:
        assert session.scalars(text("SELECT pg_backend_pid()")).one() != ended
    database.dispose()
    other.dispose()


def test_the_server_keeps_no_statement_whose_plan_could_grow_old(postgres_url: str) -> None:
    database = Database(postgres_url)
    for _ in range(10):
        with database.reading() as session:
            session.scalars(select(Project.id)).all()
    with database.reading() as session:
        assert session.scalars(text("SELECT statement FROM pg_prepared_statements")).all() == []
    database.dispose()
