"""Annotations: immutable versions, checked on the way in, durable before they are acknowledged."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session, undefer

from app.db.models import Annotation, AnnotationVersion, Draft, Project, Review, Slice, Volume, new_id
from app.db.session import database_now, prepared
from app.errors import (
    AnnotationStale,
    MaskIncomplete,
    MaskLengthWrong,
    NoAnnotationYet,
    RecordNotFound,
    SupervisionMismatch,
)
from app.names import UNLABELLED, AnnotationKind, Purpose, Supervision, Verdict, WebhookEvent
from app.services import assignments, rounds
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows
from app.services.projects import class_values
from app.services.turns import Submission, check_turn, reopens_review
from app.services.webhooks import announce
from app.storage.blobs import BlobStore
from app.storage.masks import check_mask_labelled, check_mask_values, count_mask_values, encode_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_VERSION = "0"
"""The version tag of a slice that nobody annotated."""

ANY_VERSION = "*"
"""What whoever replaces any version that there is expects, in place of a tag."""

_ROW_LIMIT_BYTES = 256 * 1024  # a larger mask goes into a blob

_HEAD = prepared(select(Annotation).where(Annotation.slice_id == bindparam("slice")))
_DROP_DRAFT = delete(Draft).where(Draft.slice_id == bindparam("slice"), Draft.author == bindparam("person"))


def submit_annotation(
    session: Session,
    blobs: BlobStore,
    project: Project,
    slice_: Slice,
    mask: NDArray[np.uint8],
    submission: Submission,
) -> AnnotationVersion:
    """Store a new version of a slice's mask (H, W) uint8; nothing is stored unless everything about it is right.

    Where several people read the slice, a reader's version follows on their own, and they see no other until all are
    in; the first reading is the current one until somebody adjudicates. Raises MaskRefused (values, empty,
    incomplete), SupervisionMismatch, SliceLeasedElsewhere, ReadingsComplete, ReadingsIncomplete, OwnWork,
    SliceAccepted, SliceExcluded, SliceNotProposed, NothingToJudge, AnnotationStale and
    RecordNotFound (deleted meanwhile).
    """
    check_mask(project, mask, submission.kind)
    assignments.lock_slice(session, slice_.id)  # of two submissions at once the second finds the first's version
    annotation = find_annotation(session, slice_)
    blind = slice_.id in assignments.blind_slices(session, project, [slice_.id])
    check_turn(session, project, slice_, annotation, submission, blind=blind)
    seat = assignments.find_seat(session, project, slice_.id, submission.author, submission.purpose)
    base = _base(session, annotation, slice_, submission.author, blind)
    current = NO_VERSION if base is None else str(base.id)
    if not is_expected(submission.expected_version, current):
        raise AnnotationStale(current)
    # After the tag: who sends once more what was stored before its review learns that it is there.
    again = seat is None and reopens_review(session, base, slice_, submission)
    version = _append_version(session, blobs, project, slice_, annotation, base, mask, submission, keep_head=blind)
    session.execute(_DROP_DRAFT, {"slice": slice_.id, "person": submission.author})
    if submission.purpose == Purpose.REVIEW and base is not None:
        session.add(Review(version_id=base.id, reviewer=submission.author, verdict=Verdict.FIX))
    rounds.mark_annotated(session, project, slice_.id)
    if seat is not None:
        assignments.complete(session, project, seat)
    else:
        assignments.close_late_lease(session, slice_.id, submission.author)
    if again:
        assignments.reopen_review(session, slice_.id)
    facts = {"slice_id": str(slice_.id), "version_id": str(version.id), "author": version.author}
    announce(session, project.id, WebhookEvent.ANNOTATION_SUBMITTED, facts)
    return version


def is_expected(expected: str, current: str) -> bool:
    """Whether a tag is the one that somebody expects; ANY_VERSION is any but NO_VERSION."""
    return current != NO_VERSION if expected == ANY_VERSION else expected == current


def visible_version(session: Session, project: Project, slice_: Slice, person: str) -> AnnotationVersion | None:
    """The version that this person sees as the current one: their own while the slice is read blind."""
    blind = bool(assignments.blind_slices(session, project, [slice_.id]))
    return _base(session, None if blind else find_annotation(session, slice_), slice_, person, blind)


def find_annotation(session: Session, slice_: Slice) -> Annotation | None:
    """The annotation head of a slice."""
    return session.scalar(_HEAD, {"slice": slice_.id})


def current_version(session: Session, project: Project, slice_: Slice, person: str) -> AnnotationVersion:
    """The version of a slice's annotation that this person sees; raises NoAnnotationYet."""
    version = visible_version(session, project, slice_, person)
    if version is None:
        raise NoAnnotationYet(slice_.id)
    return version


def visible_tags(session: Session, slices: Sequence[Slice], person: str) -> dict[uuid.UUID, str]:
    """Slice id -> version tag as this person sees it, for those of the slices (of one project) that have one."""
    tags = {each.id: str(each.annotation.head_id) for each in slices if each.annotation is not None}
    if slices:
        project = session.get_one(Project, slices[0].project_id)
        blind = assignments.blind_slices(session, project, [each.id for each in slices])
        own = assignments.own_readings(session, blind, person) if blind else {}
        tags = {slice_id: tag for slice_id, tag in tags.items() if slice_id not in blind}
        tags |= {slice_id: str(version.id) for slice_id, version in own.items()}
    return tags


def find_version(session: Session, reference: str) -> AnnotationVersion:
    """The annotation version with this id; raises RecordNotFound."""
    return find_row(session, AnnotationVersion, "annotation version", reference)


def find_visible_version(session: Session, reference: str, person: str) -> AnnotationVersion:
    """The annotation version with this id; raises RecordNotFound, as for somebody's reading of a blindly read slice."""
    version = find_version(session, reference)
    annotation = session.get_one(Annotation, version.annotation_id)
    project = session.get_one(Project, annotation.project_id)
    blind = assignments.blind_slices(session, project, [annotation.slice_id])
    if blind and version.author != person:
        raise RecordNotFound("annotation version", reference)
    return version


def list_versions(session: Session, slice_: Slice, person: str, span: Span = ALL) -> Listed[AnnotationVersion]:
    """All versions of a slice's annotation that this person may see, the oldest first."""
    project = session.get_one(Project, slice_.project_id)
    query = (
        select(AnnotationVersion)
        .join(Annotation, Annotation.id == AnnotationVersion.annotation_id)
        .where(Annotation.slice_id == slice_.id)
    )
    if assignments.blind_slices(session, project, [slice_.id]):
        query = query.where(AnnotationVersion.author == person)
    return list_rows(session, query, [AnnotationVersion.number], span)


def read_mask_body(session: Session, blobs: BlobStore, version_id: uuid.UUID) -> bytes:
    """The gzip bytes of a version's mask, as they are sent."""
    version = session.scalars(
        select(AnnotationVersion)
        .where(AnnotationVersion.id == version_id)
        .options(undefer(AnnotationVersion.mask))
        .execution_options(populate_existing=True)
    ).one()
    if version.mask is not None:
        return version.mask
    return blobs.get(version.mask_key or "")


def current_versions(session: Session, volume: Volume) -> dict[int, AnnotationVersion]:
    """Slice index -> current version, for the annotated slices of a volume."""
    rows = session.execute(
        select(Slice.index, AnnotationVersion)
        .join(Annotation, Annotation.slice_id == Slice.id)
        .join(AnnotationVersion, AnnotationVersion.id == Annotation.head_id)
        .where(Slice.volume_id == volume.id)
        .order_by(Slice.index)
    )
    return {index: version for index, version in rows}  # noqa: C416 - rows are Row objects, not pairs


def plain_mask(body: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The (H, W) mask in a body of one byte a pixel; raises MaskLengthWrong."""
    import numpy as np

    if len(body) != shape[0] * shape[1]:
        raise MaskLengthWrong(shape[0] * shape[1], len(body))
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def count_annotated(session: Session, project_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Project id -> how many of its slices have an annotation."""
    rows = session.execute(
        select(Annotation.project_id, func.count(Annotation.id))
        .join(Slice, Slice.id == Annotation.slice_id)
        .where(Annotation.project_id.in_(project_ids))
        .group_by(Annotation.project_id)
    )
    return dict.fromkeys(project_ids, 0) | {row[0]: row[1] for row in rows}


def check_mask(project: Project, mask: NDArray[np.uint8], kind: AnnotationKind, *, unfinished: bool = False) -> None:
    """Refuse a mask (H, W) that the project cannot take; one that is `unfinished` may be empty or incomplete."""
    if project.supervision not in {Supervision.MIXED, kind}:
        raise SupervisionMismatch(kind, project.supervision)
    check_mask_values(mask, class_values(project))
    if unfinished:
        return
    check_mask_labelled(mask)
    if kind == AnnotationKind.FULL and (unlabelled := int((mask == UNLABELLED).sum())):
        raise MaskIncomplete(unlabelled)


def _base(
    session: Session, annotation: Annotation | None, slice_: Slice, person: str, blind: bool
) -> AnnotationVersion | None:
    if blind:
        return assignments.latest_reading(session, slice_.id, person)
    return None if annotation is None else session.get_one(AnnotationVersion, annotation.head_id)


def _append_version(
    session: Session,
    blobs: BlobStore,
    project: Project,
    slice_: Slice,
    annotation: Annotation | None,
    base: AnnotationVersion | None,
    mask: NDArray[np.uint8],
    submission: Submission,
    *,
    keep_head: bool,
) -> AnnotationVersion:
    now = database_now(session)
    version_id, number = new_id(), 1
    if annotation is None:
        annotation = Annotation(project_id=project.id, slice_id=slice_.id, head_id=version_id, updated_at=now)
        session.add(annotation)
        session.flush()
    else:
        numbers = select(func.max(AnnotationVersion.number)).where(AnnotationVersion.annotation_id == annotation.id)
        number = session.scalars(numbers).one() + 1
    body = encode_mask(mask)
    small = len(body) <= _ROW_LIMIT_BYTES
    version = AnnotationVersion(
        id=version_id,
        annotation_id=annotation.id,
        number=number,
        parent_id=None if base is None else base.id,
        kind=submission.kind,
        author=submission.author,
        entered_by=submission.entered_by,
        source=submission.source,
        purpose=submission.purpose,
        origin_id=submission.origin_id,
        prediction_id=submission.prediction_id,
        lead_time_ms=submission.lead_time_ms,
        schema_version=project.schema_version,
        pixel_counts={str(value): count for value, count in count_mask_values(mask).items()},
        mask=body if small else None,
        mask_key=None if small else blobs.put(body),
        created_at=now,
    )
    session.add(version)
    if not keep_head or (base is not None and annotation.head_id == base.id):
        annotation.head_id = version.id
    annotation.updated_at = now
    session.flush()
    return version
