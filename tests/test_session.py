"""A database server that is not there: who starts beside it waits, and who waits in vain says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.db.session import Database, wait_until_reachable

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
