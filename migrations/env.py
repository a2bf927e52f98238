"""Runs migrations over the connection that `app.db.migrate` hands in, or over the database of the environment."""

from __future__ import annotations

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection

from app.db.models import Base, UtcDateTime
from app.db.session import Database
from app.settings import settings


def _render(kind: str, item: object, context_: AutogenContext) -> str | Literal[False]:
    """How the house's own column types are written into a migration; False: as Alembic would."""
    if kind == "type" and isinstance(item, UtcDateTime):
        context_.imports.add("from app.db.models import UtcDateTime")
        return "UtcDateTime()"
    if kind == "type" and isinstance(item, JSON):
        context_.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def _migrate(connection: Connection) -> None:
    # Batch mode copies a table to change it: SQLite can alter little else.
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        render_item=_render,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    database = Database(settings().database)
    with database.engine.connect() as own:
        _migrate(own)
        own.commit()
