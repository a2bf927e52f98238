"""The log of what was done: no statement changes a row that was written."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.db.models import AuditEvent
from app.db.session import Database
from app.outbox import SilentBell, unit_of_work
from tests.api.conftest import on_sqlite

INTO = "INTO audit_events (id, at, actor, action, object, request_id, address)"
FORGED = "SELECT id, at, 'somebody', action, object, request_id, address FROM audit_events"
BY_ROWID = FORGED.replace("SELECT id", "SELECT rowid, '00000000000070008000000000000000'")


@pytest.fixture
def written(database: Database) -> Database:
    with unit_of_work(database, SilentBell()) as session:
        session.add(AuditEvent(actor="anna", action="POST /", object="slice", request_id="", address=""))
    return database


def refuses(database: Database, change: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), unit_of_work(database, SilentBell()) as session:
        session.execute(text(change))
    with database.reading() as session:
        assert session.scalars(select(AuditEvent.actor)).all() == ["anna"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_events SET actor = 'somebody'",
        "DELETE FROM audit_events",
        f"INSERT {INTO} {FORGED} WHERE true ON CONFLICT (id) DO UPDATE SET actor = 'somebody'",
    ],
)
def test_a_row_is_neither_changed_nor_deleted(written: Database, change: str) -> None:
    refuses(written, change)


@on_sqlite
@pytest.mark.parametrize("change", [f"{INTO} {FORGED}", f"{INTO.replace('(id', '(rowid, id')} {BY_ROWID}"])
def test_a_row_is_not_replaced_by_its_id_or_by_its_place(written: Database, change: str) -> None:
    refuses(written, f"INSERT OR REPLACE {change}")
    refuses(written, f"REPLACE {change}")
