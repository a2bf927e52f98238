"""Bring a database to the newest schema: the migrations, under a lock, so that n processes may start at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.db.models import Base
from app.db.session import Database

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x6E657874  # "next": any number that nobody else locks


def migrate(database: Database) -> str:
    """Run what is missing and give back the revision that the database has now."""
    with database.write_engine.connect() as connection, _loose_references(connection), connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if database.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
            raise RuntimeError(f"the migration left rows that point nowhere, and is taken back: {broken[:3]}")
        return MigrationContext.configure(connection).get_current_revision() or ""


@contextmanager
def _loose_references(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by copying and dropping it, which rows that point at it would forbid.

    The switch does nothing within a transaction, so it is turned on the driver's own connection, before the first.
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name != "sqlite" or driver is None:
        yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def current_revision(database: Database) -> str | None:
    """The revision that the database has; None before the first migration."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@lru_cache(maxsize=1)
def head_revision() -> str:
    """The newest revision that the code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def differences(connection: Connection) -> list[object]:
    """What the models say and the database does not have, or the other way round; empty when they agree."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
