"""One row by the id that a path or a caller gives."""

from __future__ import annotations

import uuid
from typing import TypeVar

from sqlalchemy.orm import Session

from app.db.models import Base
from app.errors import RecordNotFound

Row = TypeVar("Row", bound=Base)


def find_row(session: Session, table: type[Row], what: str, reference: uuid.UUID | str) -> Row:
    """The row of this id; raises RecordNotFound, for a text that is no id as well."""
    try:
        found = session.get(table, reference if isinstance(reference, uuid.UUID) else uuid.UUID(reference))
    except ValueError:
        found = None
    if found is None:
        raise RecordNotFound(what, reference)
    return found
