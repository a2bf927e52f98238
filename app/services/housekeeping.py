"""Blobs and rows compared: what no row names may go, and what a row names must be there, whole."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import JSON, Column, ColumnElement, String, Table, cast, delete, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from app.db.models import Base, PurgedBlob
from app.db.session import Database
from app.errors import BlobDamaged, BlobNotFound
from app.outbox import SilentBell, unit_of_work
from app.storage.blobs import ORPHAN_GRACE_S, BlobStore, StoredBlob, verify_blob

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
    that is added later is seen without being listed here.
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
        waiting = set(session.scalars(select(PurgedBlob.blob)))
        named = {key for key, _ in iterate_references(session) if key in waiting} if waiting else set()
    limit, removed, young = time.time() - grace_s, [], set()
    for blob in blobs.iterate() if waiting - named else ():
        if blob.key not in waiting or blob.key in named:
            continue
        if blob.modified_at > limit:
            young.add(blob.key)
            continue
        blobs.delete(blob.key)
        removed.append(blob)
    with unit_of_work(database, SilentBell()) as session:
        for some in _batched(sorted(waiting - young), _CHUNK):
            session.execute(delete(PurgedBlob).where(PurgedBlob.blob.in_(some)))
    return removed


def note_purged(session: Session, keys: Collection[str]) -> None:
    """Have `remove_purged` take these blobs, in the transaction that removes the rows which named them."""
    for some in _batched(sorted(keys), _CHUNK):
        known = set(session.scalars(select(PurgedBlob.blob).where(PurgedBlob.blob.in_(some))))
        session.add_all(PurgedBlob(blob=key) for key in some if key not in known)


def find_orphans(database: Database, blobs: BlobStore, grace_s: float = ORPHAN_GRACE_S) -> list[StoredBlob]:
    """The blobs that no row names and that have been there for longer than `grace_s`."""
    limit = time.time() - grace_s
    old = {blob.key: blob for blob in blobs.iterate() if blob.modified_at <= limit}
    with database.reading() as session:
        for key, _ in iterate_references(session):
            old.pop(key, None)
    return sorted(old.values(), key=lambda blob: blob.key)


def remove_orphans(database: Database, blobs: BlobStore, grace_s: float = ORPHAN_GRACE_S) -> list[StoredBlob]:
    """Remove what `find_orphans` finds, and give it back.

    A blob that was put again meanwhile has a new date, and the dates are read again just before each is removed: what
    a row is about to name stays.
    """
    orphans = {blob.key for blob in find_orphans(database, blobs, grace_s)}
    limit, removed = time.time() - grace_s, []
    for blob in blobs.iterate():
        if blob.key in orphans and blob.modified_at <= limit:
            blobs.delete(blob.key)
            removed.append(blob)
    return removed


def find_bad_blobs(database: Database, blobs: BlobStore) -> Iterator[tuple[str, BadBlob | None]]:
    """Read back every blob that a row names: (key, None) for a sound one, else what is wrong with it."""
    with database.reading() as session:
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


def _batched(keys: Iterable[str], size: int) -> Iterator[list[str]]:
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
