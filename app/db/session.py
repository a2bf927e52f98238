"""One way to the data: synchronous sessions, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Select, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.pool import ConnectionPoolEntry

from app.db.models import Patient, Project, Slice, Volume
from app.errors import DatabaseEncodingRefused
from app.log import get_log

BUSY_TIMEOUT_S = 10
WAKING_S = 60.0
"""How long a process that starts waits for a database server that starts beside it."""

_PATIENCE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_PATIENCE |= {"tcp_user_timeout": 60_000}  # milliseconds
"""libpq's limits for a server that is gone without a word: by default a request waits for it a quarter of an hour."""

TRUSTED_S = 1.0
"""A connection that rested for longer is asked whether its server still answers before anything is built on it."""

_CLOCK = "database_clock"  # the key in Session.info
_RESTS_SINCE = "rests_since"  # the key in a pooled connection's info

_log = get_log(__name__)

WITH_DELETED = {"with_deleted": True}
"""Execution option of a query that sees what was deleted as well; every other one does not."""

_PRESENT = tuple(
    with_loader_criteria(table, table.deletion_id.is_(None), include_aliases=True)
    for table in (Project, Patient, Volume, Slice)
)


_Chosen = TypeVar("_Chosen", bound="Select[*tuple[Any, ...]]")


def prepared(statement: _Chosen) -> _Chosen:
    """A query with parameters that is built once, for what annotators wait for; like any, it hides what was deleted."""
    # With the criteria in it, its key in SQLAlchemy's cache is computed once as well.
    return statement.options(*_PRESENT).execution_options(**WITH_DELETED)


class Database:
    """An engine with two doors, `reading` (or a `snapshot`) and `writing`.

    SQLite has one writer at a time. A writer therefore begins with BEGIN IMMEDIATE (a transaction that reads first and
    writes later would fail instead of waiting) and queues on a lock of this process, which is fairer than SQLite's
    own polling; other processes wait for BUSY_TIMEOUT_S.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite:
            Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S})
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            event.listen(self.engine, "checkin", _end_sqlite)
        else:
            patience = {name: value for name, value in _PATIENCE.items() if name not in make_url(url).query}
            # A statement that the server keeps would go on by the plan that was good while its tables were small; and
            # poolers that hand a connection on after each transaction do not keep it.
            unkept: dict[str, Any] = {"prepare_threshold": None}
            self.engine = create_engine(url, pool_size=20, max_overflow=20, connect_args=patience | unkept)
            event.listen(self.engine, "do_connect", _connect_to_unicode)
            event.listen(self.engine, "checkin", _note_rest)
            event.listen(self.engine, "checkout", self._wake)
        self._read_engine = (
            self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        self.write_engine = self.engine.execution_options(nextslice_writes=True)
        self._write_lock: threading.Lock | None = threading.Lock() if self.is_sqlite else None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for looking, which refuses to write."""
        # PostgreSQL answers each question as of its own moment, in a transaction (READ COMMITTED) as well; without one
        # two of three round trips are saved.
        with _ReadingSession(self._read_engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Like `reading`, with every question answered as of one moment; on SQLite any reading is so."""
        with _ReadingSession(self.engine, expire_on_commit=False) as session:
            if not self.is_sqlite:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that may write; the caller commits (see `app.outbox.unit_of_work`)."""
        with self._write_lock or nullcontext(), _Session(self.write_engine, expire_on_commit=False) as session:
            yield session

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _wake(self, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        # SQLAlchemy's own pre-ping asks at each checkout: one round trip more for every session.
        if time.monotonic() - record.info.get(_RESTS_SINCE, math.inf) < TRUSTED_S:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the pool then connects anew


class _Session(Session):
    """A session whose queries do not see what was deleted."""


class _ReadingSession(_Session):
    """A session whose rows stay as they are: what it wrote might be kept or not, as the engine has it."""


@event.listens_for(_ReadingSession, "before_flush")
def _refuse_flush(_session: Session, _context: object, _instances: object) -> None:
    raise RuntimeError("a reading session was to write rows")


@event.listens_for(_ReadingSession, "do_orm_execute")
def _refuse_writing(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        raise RuntimeError("a reading session was to write")
    # SQLAlchemy has no public word for it; a lock would be given up at once, without a word.
    if getattr(state.statement, "_for_update_arg", None) is not None:
        raise RuntimeError("a reading session was to lock rows")


@event.listens_for(_Session, "do_orm_execute")
def _hide_deleted(state: ORMExecuteState) -> None:
    if state.is_select and not state.is_column_load and not state.execution_options.get("with_deleted", False):
        state.statement = state.statement.options(*_PRESENT)


def database_now(session: Session) -> datetime:
    """The time by the database's clock: leases taken by hosts whose clocks differ must still agree.

    A session asks once and goes on by this host's steady clock: sessions are short, and each question costs a round
    trip.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    if _CLOCK not in session.info:
        _note_clock(session, session.execute(_ASK_CLOCK).scalar_one())
    asked, at = session.info[_CLOCK]
    now: datetime = asked + timedelta(seconds=time.monotonic() - at)
    return now


def lock_key(session: Session, key: int) -> None:
    """Let no other transaction have this 64-bit number until this one ends. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        # The clock is read behind the lock, and in one round trip with it.
        _note_clock(session, session.execute(_LOCK_AND_CLOCK, {"key": key}).scalar_one())


def is_reachable(database: Database) -> bool:
    """True when a trivial query is answered; raises what the driver raises otherwise."""
    with database.reading() as session:
        return bool(session.execute(text("SELECT 1")).scalar_one() == 1)


def wait_until_reachable(database: Database, seconds: float = WAKING_S) -> None:
    """Return when the server takes connections; after so many seconds what the driver raises goes on its way.

    After a power cut the database recovers for a while, and whatever needs it is started at the same time. A file is
    there or is not: it is not waited for.
    """
    deadline = time.monotonic() + seconds
    while not database.is_sqlite:
        try:
            is_reachable(database)
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("waiting_for_database", reason=str(error.orig))
            time.sleep(1.0)
        else:
            return


# clock_timestamp, not now(): the latter stands still for the length of the transaction.
_ASK_CLOCK = text("SELECT clock_timestamp()")
_LOCK_AND_CLOCK = text("SELECT clock_timestamp() FROM (SELECT pg_advisory_xact_lock(:key) OFFSET 0) AS locked")


def _note_clock(session: Session, moment: datetime) -> None:
    session.info[_CLOCK] = moment.astimezone(UTC), time.monotonic()


def _connect_to_unicode(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    # A SQL_ASCII database gives texts back as bytes, and SQLAlchemy's own first question then ends in a TypeError.
    connection: Any = dialect.connect(*arguments, **options)
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == "SQL_ASCII":
        connection.close()
        raise DatabaseEncodingRefused(encoding)
    return connection


def _note_rest(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_RESTS_SINCE] = time.monotonic()


def _configure_sqlite(connection: Any, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(f"expected a sqlite3 connection, got {type(connection).__name__}")
    connection.isolation_level = None  # the driver's own BEGIN is too late for IMMEDIATE; see _begin_sqlite
    cursor = connection.cursor()
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")  # acknowledged means durable, also when the power goes
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    # A new file changes to the write-ahead log under a lock that every opener wants while it holds a lesser one. SQLite
    # answers that at once, as waiting would never end: one of those who start together would be told "locked".
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("nextslice_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _end_sqlite(connection: Any, _record: object) -> None:
    # A COMMIT that fails (a full disk, say) leaves SQLite's transaction and its write lock standing, while SQLAlchemy
    # takes it for ended and would hand the connection on with it.
    if isinstance(connection, sqlite3.Connection) and connection.in_transaction:
        connection.rollback()
