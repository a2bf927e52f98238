"""Outages: what interrupts a job through no fault of its own, so that another attempt is worth it."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.errors import StoreUnreachable

DATABASE_AWAY = "database-unavailable"  # what the API answers with as well


def outage_code(error: BaseException) -> str | None:
    """The stable word for an outage; None for any other error.

    A restart, a failover, a deadlock and SQLite's "database is locked" all come as one of these classes, whichever
    engine it is.
    """
    if isinstance(error, StoreUnreachable):
        return error.code
    if isinstance(error, (OperationalError, InterfaceError)):
        return DATABASE_AWAY
    return DATABASE_AWAY if isinstance(error, DBAPIError) and error.connection_invalidated else None


def outage_sentence(error: BaseException) -> str:
    """What was out of reach, without the statement that met it."""
    if isinstance(error, DBAPIError):
        return f"The database did not answer: {' '.join(str(error.orig).split())}."
    return str(error)
