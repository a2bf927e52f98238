"""Signing in by password: at a price that grows with every failure, whichever API process is asked.

An attempt is committed before it is counted and before the password is looked at, so that of any number of attempts
at once no more than the limit is judged.
"""

from __future__ import annotations

import math
import uuid
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from app.db.models import Account, SignInAttempt
from app.db.session import database_now
from app.errors import TooManySignIns

WINDOW_S = 300.0
FAILURES_OF_NAME = 10  # from anywhere, in a window
FAILURES_FROM_ADDRESS = 30  # for any names: a ward may sit behind one address


def begin_attempt(session: Session, name: str, address: str) -> uuid.UUID:
    """Note that somebody tries; what is older than a window is forgotten."""
    now = database_now(session)
    session.execute(delete(SignInAttempt).where(SignInAttempt.at < now - timedelta(seconds=WINDOW_S)))
    attempt = SignInAttempt(name=name[:100], address=address[:64], at=now)
    session.add(attempt)
    session.flush()
    return attempt.id


def refuse_too_many(session: Session, name: str, address: str) -> None:
    """Raises TooManySignIns when this attempt, noted already, is one too many for its name or its address."""
    now = database_now(session)
    for column, limit in (
        (SignInAttempt.name == name[:100], FAILURES_OF_NAME),
        (SignInAttempt.address == address[:64], FAILURES_FROM_ADDRESS),
    ):
        count, oldest = _recent(session, column, now)
        if count > limit and oldest is not None:
            left = WINDOW_S - (now - oldest).total_seconds()
            raise TooManySignIns(max(1, math.ceil(left)))


def forget_attempt(session: Session, attempt: uuid.UUID) -> None:
    """An attempt that was not judged does not count."""
    session.execute(delete(SignInAttempt).where(SignInAttempt.id == attempt))


def forget_failures(session: Session, name: str, address: str) -> None:
    """Who signed in has not failed."""
    session.execute(
        delete(SignInAttempt).where(and_(SignInAttempt.name == name[:100], SignInAttempt.address == address[:64]))
    )


def account_named(session: Session, name: str) -> Account | None:
    """The account with this name, if there is one."""
    return session.scalar(select(Account).where(Account.name == name))


def _recent(session: Session, which: ColumnElement[bool], now: datetime) -> tuple[int, datetime | None]:
    since = now - timedelta(seconds=WINDOW_S)
    query = select(func.count(), func.min(SignInAttempt.at)).where(which, SignInAttempt.at > since)
    count, oldest = session.execute(query).one()
    return count, oldest
