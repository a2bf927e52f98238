"""Routes of drafts: unfinished work, kept while the annotator works and after any expiry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.deps import Body, Reading, TakesGzip, TheHouse, Writing
from app.api.leases import lease_clocks
from app.api.masks import Annotator, IfMatch, LeadTime, MaskFormat, MaskType, mask_answer, plain_tag, read_mask
from app.api.schemas import DraftWire
from app.db.models import Project
from app.names import AnnotationKind
from app.services import drafts, volumes
from app.services.drafts import Sketch

router = APIRouter(prefix="/v1", tags=["annotations"])

_TAG = r"^(0|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"
BaseVersion = Annotated[
    str | None,
    Query(pattern=_TAG, description="Tag of the annotation that it is drawn over; else as at the draft's first save."),
]


@router.put("/slices/{slice_}/draft")
def save_draft(
    slice_: str,
    annotator: Annotator,
    house: TheHouse,
    session: Writing,
    body: Body,
    response: Response,
    kind: AnnotationKind,
    lead_time_ms: LeadTime = None,
    base_version: BaseVersion = None,
    if_match: IfMatch = None,
    content_type: MaskType = "application/octet-stream",
) -> DraftWire:
    """Keep unfinished work, empty if need be; from the second time on If-Match names the draft that it follows on.

    It moves the idle clock of the lease. `held: false` says that the slice is not yours any more; the draft is kept.
    """
    found = volumes.find_slice(session, slice_)
    project = session.get_one(Project, found.project_id)
    mask = read_mask(body, content_type, project, found)
    sketch = Sketch(kind, annotator, base_version, lead_time_ms)
    draft, held = drafts.save_draft(session, project, found, mask, sketch, plain_tag(if_match), lease_clocks(house))
    response.headers["ETag"] = f'"{draft.tag}"'
    return DraftWire(
        slice_id=draft.slice_id,
        annotator=draft.author,
        tag=draft.tag,
        kind=kind,
        base_version=draft.base_version,
        lead_time_ms=draft.lead_time_ms,
        updated_at=draft.updated_at,
        held=held,
    )


@router.get("/slices/{slice_}/draft", response_class=Response, responses={204: {"description": "None yet."}})
def read_draft(
    slice_: str,
    annotator: Annotator,
    session: Reading,
    takes_gzip: TakesGzip,
    format: MaskFormat = "raw",  # noqa: A002 - the word of the URL
) -> Response:
    """One's own draft of the slice, or 204; X-Base-Version is the annotation that it was drawn over."""
    found = volumes.find_slice(session, slice_)
    draft = drafts.find_draft(session, found, annotator)
    if draft is None:
        return Response(status_code=204)
    headers = {"ETag": f'"{draft.tag}"', "X-Kind": draft.kind, "X-Base-Version": draft.base_version}
    if draft.lead_time_ms is not None:
        headers["X-Lead-Time-Ms"] = str(draft.lead_time_ms)
    return mask_answer(session, found, draft.mask, format, takes_gzip, headers)


@router.delete("/slices/{slice_}/draft", status_code=204)
def drop_draft(slice_: str, session: Writing, annotator: Annotator, if_match: IfMatch = None) -> None:
    """Discard one's own draft."""
    drafts.drop_draft(session, volumes.find_slice(session, slice_), annotator, plain_tag(if_match))
