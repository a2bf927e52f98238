"""Blobs and rows compared: what no row names may go, and what a row names must be there, whole."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import JSON, Column, ColumnElement, String, Table, cast, delete, func, select, true, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from app.db.models import Base, Job, PurgedBlob
from app.db.session import Database, database_now
from app.errors import BlobDamaged, BlobNotFound
from app.names import JobState
from app.outbox import SilentBell, unit_of_work
from app.storage.blobs import ORPHAN_GRACE_S, BlobStore, StoredBlob, verify_blob

_T = TypeVar("_T")
_CHUNK = 1000  # keys of one statement
_KEY = re.compile(r"sha256/[0-9a-f]{2}/[0-9a-f]{64}")


@dataclass(frozen=True)
class BadBlob:
    """A blob that a row names and that cannot be read back: who names it, and what is the matter."""

    key: str
    named_by: str  # "table.column"
    reason: str


def iterate_references(session: Session) -> Iterator[tuple[str, str]]:
    """Every (key, "table.column") by which a row names a blob.

    Texts whose column's name ends in `_key` and everything within JSON are looked through for keys, so that a table
    that is added later is seen without being listed here. Asked in a transaction: a snapshot's, or a writer's.
    """
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if _may_name_blobs(column):
                named_by = f"{table.name}.{column.name}"
                for text in _texts_with_keys(session, table, column, true()):
                    for key in _KEY.findall(text):
                        yield key, named_by


def references_in(session: Session, table: Table, condition: ColumnElement[bool]) -> Iterator[str]:
    """Every key by which the rows of a table that fulfil a condition name a blob."""
    for column in table.columns:
        if _may_name_blobs(column):
            for text in _texts_with_keys(session, table, column, condition):
                yield from _KEY.findall(text)


def remove_purged(database: Database, blobs: BlobStore, grace_s: float = ORPHAN_GRACE_S) -> list[StoredBlob]:
    """Remove what purged rows named and no row names now, and give it back; what was put within `grace_s` stays.

    The same bytes are the same blob: somebody may have just put what was purged elsewhere, and name it in a row only
    when their volume is read or their job is done. Such a blob waits in its row of `purged_blobs` for a later call.
    """
    with database.reading() as session:
        waiting = {row.blob: row.purged_at for row in session.execute(select(PurgedBlob.blob, PurgedBlob.purged_at))}
        limit = _settled_before(session, grace_s)
    # Dates come first: while all that waits is young, nobody need look through every row.
    old = {key for key in waiting if not _is_young(blobs.find(key), limit)}
    named = _named_among(database, old)
    removed, done = [], sorted(named)
    for key in sorted(old - named):
        found = blobs.find(key)
        if _is_young(found, limit):
            continue
        if found is not None:
            blobs.delete(key)
            removed.append(found)
        done.append(key)
    _forget_purged(database, [(key, waiting[key]) for key in done])
    return removed


def note_purged(session: Session, keys: Collection[str]) -> None:
    """Have `remove_purged` take these blobs, in the transaction that removes the rows which named them."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    now = datetime.now(UTC)
    for some in _batched(sorted(keys), _CHUNK):
        rows: Any = insert(PurgedBlob).values([{"blob": key, "purged_at": now} for key in some])
        # What waits already is noted anew: a call under way that found it named then leaves it to the next one.
        session.execute(rows.on_conflict_do_update(index_elements=["blob"], set_={"purged_at": now}))


def find_orphans(database: Database, blobs: BlobStore, grace_s: float = ORPHAN_GRACE_S) -> list[StoredBlob]:
    """The blobs that no row names and that have been there for longer than `grace_s`."""
    with database.reading() as session:
        limit = _settled_before(session, grace_s)
    old = {blob.key: blob for blob in blobs.iterate() if not _is_young(blob, limit)}
    named = _named_among(database, old.keys())
    return [old[key] for key in sorted(old.keys() - named)]


def remove_orphans(database: Database, blobs: BlobStore, grace_s: float = ORPHAN_GRACE_S) -> list[StoredBlob]:
    """Remove what `find_orphans` finds, and give it back.

    A blob that was put again meanwhile has a new date, and the dates are read again just before each is removed: what
    a row is about to name stays.
    """
    removed = []
    for orphan in find_orphans(database, blobs, grace_s):
        if blobs.find(orphan.key) == orphan:
            blobs.delete(orphan.key)
            removed.append(orphan)
    return removed


def find_bad_blobs(database: Database, blobs: BlobStore) -> Iterator[tuple[str, BadBlob | None]]:
    """Read back every blob that a row names: (key, None) for a sound one, else what is wrong with it."""
    with database.snapshot() as session:
        named: dict[str, str] = {}
        for key, named_by in iterate_references(session):
            named.setdefault(key, named_by)
    for key, named_by in sorted(named.items()):
        try:
            verify_blob(blobs, key)
        except BlobNotFound:
            yield key, BadBlob(key, named_by, "missing")
        except BlobDamaged as error:
            yield key, BadBlob(key, named_by, error.reason)
        else:
            yield key, None


def _settled_before(session: Session, grace_s: float) -> float:
    """The moment before which whatever was put is named by now, if it ever will be.

    A job names what it puts when it ends, however long it works: the grace counts from the start of the oldest one. One
    without a heartbeat for a day is dead, and would otherwise keep purged pixels for as long as nobody takes it up.
    """
    alive = database_now(session) - timedelta(seconds=ORPHAN_GRACE_S)
    begun = select(func.min(Job.started_at)).where(Job.state == JobState.RUNNING, Job.heartbeat_at > alive)
    oldest, now = session.scalar(begun), time.time()
    return min(now, now if oldest is None else oldest.timestamp()) - grace_s


def _is_young(blob: StoredBlob | None, limit: float) -> bool:
    return blob is not None and blob.modified_at > limit


def _named_among(database: Database, keys: Collection[str]) -> set[str]:
    if not keys:
        return set()
    # As of one moment: a name may move between two tables that are read one after the other.
    with database.snapshot() as session:
        return {key for key, _ in iterate_references(session) if key in keys}


def _forget_purged(database: Database, noted: list[tuple[str, datetime]]) -> None:
    with unit_of_work(database, SilentBell()) as session:
        for some in _batched(noted, _CHUNK):
            session.execute(delete(PurgedBlob).where(tuple_(PurgedBlob.blob, PurgedBlob.purged_at).in_(some)))


def _batched(keys: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(keys)
    while some := list(islice(rest, size)):
        yield some


def _may_name_blobs(column: Column[object]) -> bool:
    return _is_json(column.type) or (isinstance(column.type, String) and column.name.endswith("_key"))


def _is_json(kind: TypeEngine[object]) -> bool:
    return isinstance(kind, JSON | JSONB)


def _texts_with_keys(
    session: Session, table: Table, column: Column[object], condition: ColumnElement[bool]
) -> Iterator[str]:
    text = cast(column, String)
    asked = select(text).select_from(table).where(condition, text.contains("sha256/", autoescape=True))
    yield from session.scalars(asked.execution_options(yield_per=1000))
