"""The route of the audit log: JSON by the page, NDJSON and CSV for archives."""

from __future__ import annotations

import csv
import io
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, AwareDatetime

from app.api.deps import Reading
from app.api.paging import Paged, page_of
from app.api.schemas import Page, Wire
from app.services import audit, projects
from app.services.audit import AuditFilter

router = APIRouter(prefix="/v1", tags=["people"])

# A cell that begins with one of these is a formula to spreadsheets.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the moment lies before the year 1 or after the year 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class AuditWire(Wire):
    """Who did what to what, from where, in which request."""

    id: uuid.UUID
    at: AwareDatetime
    actor: str
    account_id: uuid.UUID | None
    action: str
    object: str
    request_id: str
    address: str


_OTHER_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": {}, "text/csv": {}}}}


@router.get("/projects/{project}/audit", response_model=Page[AuditWire], responses=_OTHER_FORMS)
def list_audit(
    project: str,
    session: Reading,
    span: Paged,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=200, description="Method and path template.")] = None,
    object: Annotated[str | None, Query(max_length=200, description="Part of it, such as an id.")] = None,  # noqa: A002
    since: Moment | None = None,
    until: Moment | None = None,
    order: Annotated[Literal["oldest", "newest"], Query(description="Which come first.")] = "oldest",
    format: Annotated[Literal["json", "ndjson", "csv"], Query()] = "json",  # noqa: A002 - the word of the URL
) -> Page[AuditWire] | Response:
    """What was done in the project, in order; `X-Next-Cursor` goes on where NDJSON and CSV end."""
    found = projects.find_project(session, project)
    wanted = AuditFilter(
        actor=actor, action=action, object=object, since=since, until=until, newest_first=order == "newest"
    )
    page = page_of(audit.list_events(session, found, wanted, span), AuditWire.model_validate)
    if format == "json":
        return page
    items = page.items
    headers = {"X-Next-Cursor": page.next_cursor} if page.next_cursor is not None else {}
    if format == "ndjson":
        body = "".join(each.model_dump_json() + "\n" for each in items)
        return Response(body, media_type="application/x-ndjson", headers=headers)
    return Response(_as_csv(items), media_type="text/csv; charset=utf-8", headers=headers)


def _as_csv(items: list[AuditWire]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(AuditWire.model_fields)
    for each in items:
        cells = ["" if value is None else str(value) for value in each.model_dump(mode="json").values()]
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return text.getvalue()
