"""Blobs that wait for their removal: none is forgotten, and none goes that somebody may be about to name."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from app.db.models import Job, Project, PurgedBlob
from app.db.session import Database
from app.errors import StoreUnreachable
from app.names import JobKind, JobState
from app.outbox import SilentBell, unit_of_work
from app.services import housekeeping
from app.services.housekeeping import iterate_references, note_purged, remove_orphans, remove_purged
from app.storage.blobs import ORPHAN_GRACE_S, StoredBlob
from app.storage.stores import LocalStore
from tests.rows import add_project, queue_jobs

DAY_S = ORPHAN_GRACE_S


@pytest.fixture
def blobs(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "blobs")


def put_old(blobs: LocalStore, content: bytes, age_s: float = 3 * DAY_S) -> str:
    key = blobs.put(content)
    os.utime(blobs.root / key, (time.time() - age_s,) * 2)
    return key


def note(database: Database, *keys: str) -> None:
    with unit_of_work(database, SilentBell()) as session:
        note_purged(session, keys)


def waiting(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(PurgedBlob.blob)))


def test_old_bytes_go_at_once_and_a_lost_folder_forgets_none(database: Database, blobs: LocalStore) -> None:
    key = put_old(blobs, b"pixels")
    note(database, key)
    away = blobs.root.with_name("away")
    blobs.root.rename(away)
    with pytest.raises(StoreUnreachable):
        remove_purged(database, blobs)
    assert waiting(database) == {key}
    away.rename(blobs.root)
    assert [blob.key for blob in remove_purged(database, blobs)] == [key]
    assert (waiting(database), blobs.exists(key)) == (set(), False)


def test_two_purges_of_the_same_bytes_at_once_both_succeed(database: Database, blobs: LocalStore) -> None:
    key = put_old(blobs, b"in two projects")
    failed: list[SQLAlchemyError] = []

    def purge_one() -> None:
        try:
            with unit_of_work(database, SilentBell()) as session:
                note_purged(session, {key})
                time.sleep(0.3)
        except SQLAlchemyError as error:
            failed.append(error)

    purges = [threading.Thread(target=purge_one) for _ in range(2)]
    for each in purges:
        each.start()
    for each in purges:
        each.join()
    assert failed == []
    assert [blob.key for blob in remove_purged(database, blobs)] == [key]


def test_what_is_purged_while_a_call_finds_it_named_is_left_to_the_next(
    database: Database, blobs: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put_old(blobs, b"shared")
    with unit_of_work(database, SilentBell()) as session:
        add_project(session).protocol = {"named": key}
        note_purged(session, {key})
    ask = housekeeping._named_among

    def purged_meanwhile(database: Database, keys: set[str]) -> set[str]:
        named = ask(database, keys)
        with unit_of_work(database, SilentBell()) as session:
            note_purged(session, {key})
            session.execute(delete(Project))
        return named

    with monkeypatch.context() as patched:
        patched.setattr(housekeeping, "_named_among", purged_meanwhile)
        assert remove_purged(database, blobs) == []
    assert [blob.key for blob in remove_purged(database, blobs)] == [key]


@pytest.mark.parametrize("heard_s", [10, 2 * DAY_S])
def test_what_a_running_job_may_have_put_waits_for_its_end(
    database: Database, blobs: LocalStore, heard_s: float
) -> None:
    """A job that has worked for two days put its first masks then; one that is not heard of is not waited for."""
    job, *_ = queue_jobs(database, JobKind.PREDICT)
    now = datetime.now(UTC)
    running = {"state": JobState.RUNNING, "started_at": now - timedelta(days=2, minutes=1)}
    with unit_of_work(database, SilentBell()) as session:
        session.execute(
            update(Job).where(Job.id == job).values(**running, heartbeat_at=now - timedelta(seconds=heard_s))
        )
    purged, orphan = put_old(blobs, b"a mask", 2 * DAY_S), put_old(blobs, b"another", 2 * DAY_S)
    older = put_old(blobs, b"long before", 4 * DAY_S)
    note(database, purged, older)
    is_alive = heard_s < DAY_S
    removed = {blob.key for blob in remove_purged(database, blobs)}
    assert removed == ({older} if is_alive else {older, purged})
    assert {blob.key for blob in remove_orphans(database, blobs)} == (set() if is_alive else {orphan})
    with unit_of_work(database, SilentBell()) as session:
        session.execute(update(Job).values(state=JobState.SUCCEEDED))
    remove_purged(database, blobs)
    remove_orphans(database, blobs)
    assert list(blobs.iterate()) == []


def test_bytes_that_are_put_again_just_before_they_would_go_stay(
    database: Database, blobs: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged, orphan = put_old(blobs, b"pixels"), put_old(blobs, b"litter")
    note(database, purged)
    ask = housekeeping._named_among

    def put_meanwhile(database: Database, keys: set[str]) -> set[str]:
        named = ask(database, keys)
        for content in (b"pixels", b"litter"):
            blobs.put(content)
        return named

    monkeypatch.setattr(housekeeping, "_named_among", put_meanwhile)
    assert (remove_purged(database, blobs), waiting(database)) == ([], {purged})
    os.utime(blobs.root / orphan, (1000, 1000))
    assert remove_orphans(database, blobs) == []
    assert blobs.exists(purged)
    assert blobs.exists(orphan)


def test_the_whole_store_is_not_walked_for_a_purge(
    database: Database, blobs: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is as old as its page: what is put again between it and the removal would go."""

    def walk(_store: LocalStore) -> Iterator[StoredBlob]:
        raise AssertionError

    key = put_old(blobs, b"pixels")
    note(database, key)
    monkeypatch.setattr(LocalStore, "iterate", walk)
    assert [blob.key for blob in remove_purged(database, blobs)] == [key]


def test_a_snapshot_sees_no_name_move(database: Database, blobs: LocalStore) -> None:
    key = put_old(blobs, b"moved")
    with unit_of_work(database, SilentBell()) as session:
        add_project(session, "first").protocol = {"named": key}
    with database.snapshot() as session:
        assert key in dict(iterate_references(session))
        with unit_of_work(database, SilentBell()) as other:
            other.execute(update(Project).values(protocol={}))
        assert key in dict(iterate_references(session))
    with database.snapshot() as session:
        assert key not in dict(iterate_references(session))
