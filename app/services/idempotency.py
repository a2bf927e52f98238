"""Idempotency keys: a request that creates something, sent twice, creates it once and is answered alike.

The answer is kept in the transaction that did the work, so there is never one without the other. A request that was
refused kept nothing, and may be sent again under the same key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from app.db.models import IdempotentAnswer
from app.db.session import database_now
from app.errors import IdempotencyKeyReused, RequestStillRunning

KEPT_H = 24


@dataclass(frozen=True)
class KeyedRequest:
    """A request that named a key: whose it is, and the digest of its method, path and body."""

    owner: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class KeptAnswer:
    """What was answered the first time."""

    status: int
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)


def fingerprint_request(method: str, target: str, content_type: str, body: bytes) -> str:
    """A digest that is the same when the same is asked again."""
    _, _, boundary = content_type.partition("boundary=")
    if boundary:
        body = body.replace(boundary.strip('"').encode(), b"")  # drawn anew by clients for every sending
    media_type = content_type.split(";", maxsplit=1)[0]
    return hashlib.sha256(b"\0".join([method.encode(), target.encode(), media_type.encode(), body])).hexdigest()


def find_answer(session: Session, request: KeyedRequest) -> KeptAnswer | None:
    """The answer kept for this request; None the first time, with the key held until the transaction ends.

    Raises RequestStillRunning while another transaction holds the key, IdempotencyKeyReused for another request.
    """
    if session.get_bind().dialect.name == "postgresql" and not _hold_key(session, request):
        raise RequestStillRunning(request.key)
    oldest = database_now(session) - timedelta(hours=KEPT_H)
    kept = session.scalar(
        select(IdempotentAnswer).where(
            IdempotentAnswer.owner == request.owner,
            IdempotentAnswer.key == request.key,
            IdempotentAnswer.created_at > oldest,
        )
    )
    if kept is None:
        return None
    if kept.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused(request.key)
    return KeptAnswer(kept.status, kept.body, kept.headers)


def keep_answer(session: Session, request: KeyedRequest, answer: KeptAnswer) -> None:
    """Keep an answer for a day, in the transaction that did the work; forget those that are older."""
    now = database_now(session)
    session.execute(delete(IdempotentAnswer).where(IdempotentAnswer.created_at <= now - timedelta(hours=KEPT_H)))
    session.add(
        IdempotentAnswer(
            owner=request.owner,
            key=request.key,
            fingerprint=request.fingerprint,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            created_at=now,
        )
    )
    session.flush()


def _hold_key(session: Session, request: KeyedRequest) -> bool:
    digest = hashlib.sha256(f"idempotency {request.owner} {request.key}".encode()).digest()
    lock = int.from_bytes(digest[:8], "big", signed=True)
    return bool(session.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}).scalar_one())
