"""What all lists have in common: `limit` and `cursor` go in, a page comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from app.api.schemas import Page
from app.services.paging import Listed, Span

Row = TypeVar("Row")
Item = TypeVar("Item")


async def _span(
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many items.")] = 50,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")] = None,
) -> Span:
    return Span(limit, cursor)


Paged = Annotated[Span, Depends(_span)]


def page_of(rows: Listed[Row], wire: Callable[[Row], Item]) -> Page[Item]:
    """The page of these rows, each as the wire takes it."""
    return Page(items=[wire(row) for row in rows], next_cursor=rows.next_cursor)
