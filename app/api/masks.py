"""Masks on the wire: what several routes take and give the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Depends, Header, Query, Request, Response
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.deps import House, TheHouse, ThePerson
from app.api.schemas import plain_text
from app.api.volumes import gzip_answer
from app.db.models import Project, Slice
from app.errors import EmptyBody, MaskTypeRefused
from app.names import Role
from app.services import annotations as slice_annotations, members
from app.services.people import Person
from app.services.turns import Rights
from app.storage.masks import decode_mask, mask_from_png, mask_to_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GZIP_START = b"\x1f\x8b"
_RAW_TYPES = ("application/octet-stream", "application/gzip")
_TYPES = (*_RAW_TYPES, "image/png")

MaskFormat = Annotated[Literal["raw", "png"], Query()]
MaskType = Annotated[str, Header()]
IfMatch = Annotated[
    str | None,
    Header(description="ETag of the current version, or '\"0\"' when there is none; `*`: any that there is."),
]
LeadTime = Annotated[int | None, Query(ge=0, le=2**31 - 1)]
SchemaVersion = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="The project's schema_version that it was drawn under.")
]
SourcePrediction = Annotated[str | None, Query(description="X-Prediction of what was drawn over.")]


async def _acting_name(
    person: ThePerson,
    house: TheHouse,
    request: Request,
    annotator: Annotated[
        str | None,
        AfterValidator(plain_text),
        Query(min_length=1, max_length=200, description="For managers: in whose name; else one's own."),
    ] = None,
) -> str:
    acting = person.acting_as(annotator)
    # What a member who has left drew can still be read and discarded.
    if person.entering_for(acting) is not None and request.method in {"POST", "PUT"}:
        await run_in_threadpool(_check_name, house, person, acting)
    return acting


def _check_name(house: House, person: Person, name: str) -> None:
    with house.database.reading() as session:
        members.acting_as(session, person, name)


Annotator = Annotated[str, Depends(_acting_name)]


def rights_of(person: Person) -> Rights:
    """What the person's role lets them do beyond the seats that they are handed."""
    # Without accounts whoever sits there is owner in every name; readers are kept blind to each other all the same.
    unasked = person.account_id is not None and person.covers(Role.MANAGER)
    return Rights(corrects=person.covers(Role.REVIEWER), unasked=unasked)


def plain_tag(if_match: str | None) -> str | None:
    """The tag in an If-Match header, without its quotes; ANY_VERSION for a bare asterisk, and for nothing else."""
    if if_match is None:
        return None
    tag = if_match.strip()
    plain = tag.strip('"')
    # In quotes the asterisk is a tag like any other, and no version has it.
    return tag if plain == slice_annotations.ANY_VERSION else plain


def read_mask(body: bytes, content_type: str, project: Project, slice_: Slice) -> NDArray[np.uint8]:
    """The (H, W) uint8 mask in a body: raw or gzipped bytes, or a PNG."""
    shape = (slice_.volume.height, slice_.volume.width)
    media_type = content_type.split(";", maxsplit=1)[0].strip().lower()
    if media_type not in _TYPES:
        raise MaskTypeRefused(content_type, _TYPES)
    if not body:
        raise EmptyBody("a mask")
    if media_type == "image/png":
        return mask_from_png(body, shape, _palette(project))
    if body.startswith(_GZIP_START) and len(body) != shape[0] * shape[1]:
        return decode_mask(body, shape)
    return slice_annotations.plain_mask(body, shape)


def mask_answer(
    session: Session, slice_: Slice, body: bytes, format_: str, takes_gzip: bool, headers: dict[str, str]
) -> Response:
    """Stored gzip bytes of a mask as raw uint8 or as an indexed PNG."""
    if format_ == "raw":
        shape = f"{slice_.volume.height},{slice_.volume.width}"
        return gzip_answer(body, takes_gzip, headers | {"X-Dtype": "uint8", "X-Shape": shape})
    project = session.get_one(Project, slice_.project_id)
    mask = decode_mask(body, (slice_.volume.height, slice_.volume.width))
    return Response(mask_to_png(mask, _palette(project)), media_type="image/png", headers=headers)


def _palette(project: Project) -> dict[int, tuple[int, int, int]]:
    colors = {int(each["value"]): str(each["color"]).lstrip("#") for each in project.label_schema}
    return {value: (int(color[0:2], 16), int(color[2:4], 16), int(color[4:6], 16)) for value, color in colors.items()}
