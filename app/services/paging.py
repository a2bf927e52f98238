"""Lists page by page: a cursor names the last row that was given, and the next page begins behind it.

Keyset, not OFFSET: what is added or removed meanwhile neither repeats nor hides a row, and the last page of a long list
costs what the first does (Winand, "SQL Performance Explained", chapter 7).
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import Session

from app.errors import CursorRefused

Row = TypeVar("Row")
Key = str | int | uuid.UUID

_INT_MAX = 2**31


@dataclass(frozen=True)
class Span:
    """Which part of a list: at most `limit` rows (None: all) behind the one that the cursor names."""

    limit: int | None = None
    cursor: str | None = None


ALL = Span()


class Listed(list[Row]):
    """Rows in their order; `next_cursor` asks for what follows, None: that was all."""

    next_cursor: str | None = None


def list_rows(
    session: Session,
    query: Select[Row],
    order: Sequence[ColumnElement[Any] | Any],
    span: Span = ALL,
    *,
    descending: bool = False,
) -> Listed[Row]:
    """The rows of the query in the order of these columns, which together name one row; raises CursorRefused."""
    if span.cursor is not None:
        last = _read_cursor(span.cursor, [column.type.python_type for column in order])
        values = [literal(value, column.type) for value, column in zip(last, order, strict=True)]
        here, there = tuple_(*order), tuple_(*values)
        query = query.where(here < there if descending else here > there)
        # The comparison of the whole says this too, but only of a single column do planners see that an index serves.
        query = query.where(order[0] <= values[0] if descending else order[0] >= values[0])
    query = query.order_by(*(column.desc() if descending else column for column in order))
    if span.limit is not None:
        query = query.limit(span.limit + 1)
    rows = session.execute(query.add_columns(*order)).all()
    listed = Listed(row[0] for row in rows[: span.limit])
    if span.limit is not None and len(rows) > span.limit:
        listed.next_cursor = _write_cursor(rows[span.limit - 1][1:])
    return listed


def list_items(items: Iterable[Row], key: Callable[[Row], int], span: Span = ALL) -> Listed[Row]:
    """Items that stand in memory, ascending by their key; raises CursorRefused."""
    found = sorted(items, key=key)
    if span.cursor is not None:
        last = _read_cursor(span.cursor, [int])[0]
        found = [item for item in found if key(item) > int(str(last))]
    listed = Listed(found[: span.limit])
    if span.limit is not None and len(found) > span.limit:
        listed.next_cursor = _write_cursor([key(listed[-1])])
    return listed


def _write_cursor(keys: Sequence[Key]) -> str:
    text = json.dumps([str(key) if isinstance(key, uuid.UUID) else key for key in keys], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, kinds: Sequence[type]) -> list[Key]:
    """The keys in a cursor, which comes from outside: it may be anything."""
    try:
        keys = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        return [_read_key(key, kind) for key, kind in zip(keys, kinds, strict=True)]
    except (ValueError, TypeError, RecursionError):
        raise CursorRefused(cursor) from None


def _read_key(key: Any, kind: type) -> Key:
    if kind is int and type(key) is int and abs(key) < _INT_MAX:
        return key
    if kind is not int and isinstance(key, str) and "\0" not in key:
        key.encode()  # half a surrogate pair is a ValueError
        return uuid.UUID(key) if kind is uuid.UUID else key
    raise TypeError(f"{key!r} is no {kind.__name__}")
