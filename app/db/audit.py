"""The audit row of whatever is committed on somebody's behalf: in the same transaction, or not at all.

A request that may change something leaves a trace here; the one committer (`app.outbox.unit_of_work`) writes it down.
So no route can forget its row, and what no person asked for (a sweep, a worker's progress) has none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.db.models import AuditEvent

_OBJECT_LENGTH = 200
_AUDITED = insert(AuditEvent)


@dataclass
class Trace:
    """Who asks for what, from where."""

    actor: str
    account_id: uuid.UUID | None
    action: str
    object: str
    project_id: uuid.UUID | None
    request_id: str
    address: str


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def traced(trace: Trace | None) -> Iterator[None]:
    """Until the block is left, units of work are this request's."""
    before = _trace.set(trace)
    try:
        yield
    finally:
        _trace.reset(before)


def note_project(project_id: uuid.UUID) -> None:
    """The request at hand made this project."""
    trace = _trace.get()
    if trace is not None:
        trace.project_id, trace.object = project_id, f"project {project_id}"


def note_actor(actor: str, account_id: uuid.UUID | None) -> None:
    """The request at hand found out who asks."""
    trace = _trace.get()
    if trace is not None:
        trace.actor, trace.account_id = actor, account_id


def note_outcome(outcome: str) -> None:
    """What came of the request at hand, where that is not plain from its being there."""
    trace = _trace.get()
    if trace is not None:
        trace.object = outcome


def note_detail(detail: str) -> None:
    """What the request at hand gave to the object that its path names; never anything about a person or a patient."""
    trace = _trace.get()
    if trace is not None:
        trace.object = f"{trace.object[: _OBJECT_LENGTH - len(detail) - 1]} {detail}"


def write_trace(session: Session) -> None:
    """Add the audit row of the request at hand, if there is one, to the transaction."""
    trace = _trace.get()
    if trace is not None:
        row = {
            "actor": trace.actor[:100],
            "account_id": trace.account_id,
            "action": trace.action[:200],
            "project_id": trace.project_id,
            "object": trace.object[:_OBJECT_LENGTH],
            "request_id": trace.request_id,
            "address": trace.address[:64],
        }
        session.connection().execute(_AUDITED, row)
