"""Purging: what was deleted goes for good, with everything that was made of it. Only its audit rows remain.

Rows go by their foreign keys, so that a table which is added later is found without being listed here; what names the
purged in other ways (snapshots, models, jobs, kept answers) is cleaned by hand. Blobs go after the commit, by
the list that it leaves: a row without its blob would be a lie.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Table, delete, or_, select
from sqlalchemy.orm import Session

from app.db.audit import Trace, traced
from app.db.models import AnnotationVersion, Base, Deletion, Patient, Project, Slice, Volume
from app.db.session import Database, database_now
from app.errors import JobsAtWork
from app.names import DeletedKind
from app.outbox import SilentBell, unit_of_work
from app.services import traces
from app.services.deletions import refuse_busy
from app.services.housekeeping import note_purged, references_in, remove_purged
from app.storage.blobs import BlobStore

_ROOTS: dict[DeletedKind, type[Project | Patient | Volume]] = {
    DeletedKind.PROJECT: Project,
    DeletedKind.PATIENT: Patient,
    DeletedKind.VOLUME: Volume,
}


def purge(session: Session, blobs: BlobStore, deletion: Deletion) -> None:
    """Remove all rows of what a deletion hid; raises JobsAtWork. `remove_purged` then takes the blobs."""
    refuse_busy(session, deletion.project_id)
    keys: set[str] = set()
    root = Base.metadata.tables[_ROOTS[DeletedKind(deletion.kind)].__tablename__]
    doomed = _doomed(root, deletion.object_id)
    ids = _ids(session, doomed)
    if deletion.kind != DeletedKind.PROJECT:
        keys |= traces.clean_project(session, blobs, deletion.project_id, ids, _names_of(session, doomed, deletion))
    traces.forget_answers(session, ids)
    for table, condition in doomed.items():
        keys |= set(references_in(session, table, condition))
    note_purged(session, keys)
    hidden = Base.metadata.tables[Deletion.__tablename__]
    session.execute(delete(hidden).where(or_(hidden.c.id == deletion.id, hidden.c.object_id.in_(ids))))
    session.expunge(deletion)
    for table, condition in reversed(doomed.items()):
        session.execute(delete(table).where(condition))


@dataclass(frozen=True)
class Sweep:
    """What one look at the due deletions did, each as "kind id"; what waits, waits for the jobs of its project."""

    purged: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def purge_due(database: Database, blobs: BlobStore) -> Sweep:
    """Purge what is past its retention, one deletion a transaction.

    What a job is at work on waits for the next call, the others do not. Any number of processes may do this at once.
    """
    done = Sweep()
    tried: set[uuid.UUID] = set()
    while True:
        with database.reading() as session:
            due = select(Deletion).where(Deletion.purge_after <= database_now(session)).order_by(Deletion.id)
            found = next((each for each in session.scalars(due) if each.id not in tried), None)
        if found is None:
            remove_purged(database, blobs)  # also what earlier purges had to leave
            return done
        tried.add(found.id)
        try:
            told = purge_one(database, blobs, found.id)
        except JobsAtWork:
            done.waiting.append(f"{found.kind} {found.object_id}")
            continue
        if told is not None:
            done.purged.append(told)


def purge_one(database: Database, blobs: BlobStore, deletion_id: uuid.UUID) -> str | None:
    """Purge one deletion's rows, with an audit row of its own; None where somebody else does, or did."""
    with unit_of_work(database, SilentBell()) as session:
        found = session.get(Deletion, deletion_id, with_for_update={"skip_locked": True})
        if found is None:
            return None
        told, project_id = f"{found.kind} {found.object_id}", found.project_id
        with traced(None):
            purge(session, blobs, found)
        traces.write_audit(session, Trace("retention", None, "purge", told, project_id, "", ""))
    return told


def _doomed(root: Table, object_id: uuid.UUID) -> dict[Table, ColumnElement[bool]]:
    """Table -> which of its rows go: the root's, and all that refer to rows that go; parents before children."""
    conditions: dict[Table, ColumnElement[bool]] = {root: root.c.id == object_id}
    for table in Base.metadata.sorted_tables:
        keys = [key for key in table.foreign_keys if key.column.table in conditions and key.column.table is not table]
        # Rows that name the root themselves need no detour over others.
        direct = [key for key in keys if key.column.table is root]
        reached = [key.parent.in_(select(key.column).where(conditions[key.column.table])) for key in direct or keys]
        if reached and table is not root:
            conditions[table] = or_(*reached)
    return conditions


def _ids(session: Session, doomed: dict[Table, ColumnElement[bool]]) -> set[uuid.UUID]:
    tables = (table.__tablename__ for table in (Patient, Volume, Slice, AnnotationVersion))
    found: set[uuid.UUID] = set()
    for table in _chosen(doomed, tables):
        found |= set(session.scalars(select(table.c.id).where(doomed[table])))
    return found


def _names_of(session: Session, doomed: dict[Table, ColumnElement[bool]], deletion: Deletion) -> set[str]:
    """The words that what goes is known by: a patient's code, "code volume" as in reports, and names of files."""
    names = {deletion.label} if deletion.kind == DeletedKind.PATIENT else set()
    patient, volume = Base.metadata.tables[Patient.__tablename__], Base.metadata.tables[Volume.__tablename__]
    asked = select(patient.c.code, volume.c.name, volume.c.original_name).join_from(volume, patient)
    for code, name, file_name in session.execute(asked.where(doomed[volume])):
        names |= {f"{code} {name}", file_name}
    return names


def _chosen(doomed: Iterable[Table], names: Iterable[str]) -> list[Table]:
    wanted = set(names)
    return [table for table in doomed if table.name in wanted]
