"""Annotations: immutable versions, checked on the way in, durable before they are acknowledged."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from app.db.models import Annotation, AnnotationVersion, Project, Slice, Volume
from app.db.session import database_now
from app.errors import (
    AnnotationStale,
    MaskIncomplete,
    MaskLengthWrong,
    NoAnnotationYet,
    SliceLeasedElsewhere,
    SupervisionMismatch,
)
from app.names import UNLABELLED, AnnotationKind, Supervision, WebhookEvent
from app.services import leases, rounds
from app.services.lookup import find_row
from app.services.projects import class_values
from app.services.webhooks import announce
from app.storage.blobs import BlobStore
from app.storage.masks import check_mask_labelled, check_mask_values, count_mask_values, encode_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_VERSION = "0"
"""The version tag of a slice that nobody annotated."""

_ROW_LIMIT_BYTES = 256 * 1024  # a larger mask goes into a blob


@dataclass(frozen=True)
class Submission:
    """Who submits what kind of mask, and what they saw before."""

    kind: AnnotationKind
    author: str
    expected_version: str  # tag of the current version, or NO_VERSION
    source: str = "annotator"
    lead_time_ms: int | None = None


def submit_annotation(
    session: Session,
    blobs: BlobStore,
    project: Project,
    slice_: Slice,
    mask: NDArray[np.uint8],
    submission: Submission,
) -> AnnotationVersion:
    """Store a new version of a slice's mask (H, W) uint8; nothing is stored unless everything about it is right.

    Raises MaskRefused (values, empty, incomplete), SupervisionMismatch, SliceLeasedElsewhere and AnnotationStale.
    """
    _check_mask(project, mask, submission.kind)
    # The slice's row is locked: of two submissions at once the second finds the first's version and is stale.
    session.execute(select(Slice.id).where(Slice.id == slice_.id).with_for_update())
    if leases.find_other_holder(session, slice_.id, submission.author) is not None:
        raise SliceLeasedElsewhere(slice_.id)
    annotation = session.scalar(select(Annotation).where(Annotation.slice_id == slice_.id))
    current = version_tag(annotation)
    if submission.expected_version != current:
        raise AnnotationStale(current)
    version = _append_version(session, blobs, project, slice_, annotation, mask, submission)
    leases.mark_submitted(session, slice_.id)
    rounds.mark_annotated(session, slice_.id)
    facts = {"slice_id": str(slice_.id), "version_id": str(version.id), "author": version.author}
    announce(session, project.id, WebhookEvent.ANNOTATION_SUBMITTED, facts)
    return version


def version_tag(annotation: Annotation | None) -> str:
    """The tag (without quotes) that an ETag carries: the id of the current version."""
    return NO_VERSION if annotation is None else str(annotation.head_id)


def find_annotation(session: Session, slice_: Slice) -> Annotation | None:
    """The annotation head of a slice."""
    return session.scalar(select(Annotation).where(Annotation.slice_id == slice_.id))


def current_version(session: Session, slice_: Slice) -> AnnotationVersion:
    """The newest version of a slice's annotation; raises NoAnnotationYet."""
    annotation = find_annotation(session, slice_)
    if annotation is None:
        raise NoAnnotationYet(slice_.id)
    return session.get_one(AnnotationVersion, annotation.head_id)


def find_version(session: Session, reference: str) -> AnnotationVersion:
    """The annotation version with this id; raises RecordNotFound."""
    return find_row(session, AnnotationVersion, "annotation version", reference)


def list_versions(session: Session, slice_: Slice) -> list[AnnotationVersion]:
    """All versions of a slice's annotation, the oldest first."""
    return list(
        session.scalars(
            select(AnnotationVersion)
            .join(Annotation, Annotation.id == AnnotationVersion.annotation_id)
            .where(Annotation.slice_id == slice_.id)
            .order_by(AnnotationVersion.number)
        )
    )


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


def volume_tag(session: Session, volume: Volume) -> str:
    """The tag of a volume's annotations as a whole: it changes with every version of every slice."""
    heads = ",".join(str(version.id) for version in current_versions(session, volume).values())
    return hashlib.sha256(heads.encode()).hexdigest()[:32] if heads else NO_VERSION


def plain_mask(body: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The (H, W) mask in a body of one byte a pixel; raises MaskLengthWrong."""
    import numpy as np

    if len(body) != shape[0] * shape[1]:
        raise MaskLengthWrong(shape[0] * shape[1], len(body))
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def labelled_planes(mask: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(index, plane) of the planes of a (Z, H, W) mask in which anything is labelled."""
    for index, plane in enumerate(mask):
        if (plane != UNLABELLED).any():
            yield index, plane


def count_annotated(session: Session, project: Project) -> int:
    """How many slices of the project have an annotation."""
    return session.scalars(
        select(func.count()).select_from(Annotation).where(Annotation.project_id == project.id)
    ).one()


def annotated_slice_ids(session: Session, slice_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Slice id -> version tag, for those of the given slices that are annotated."""
    rows = session.execute(select(Annotation.slice_id, Annotation.head_id).where(Annotation.slice_id.in_(slice_ids)))
    return {slice_id: str(head_id) for slice_id, head_id in rows}


def _check_mask(project: Project, mask: NDArray[np.uint8], kind: AnnotationKind) -> None:
    if project.supervision not in {Supervision.MIXED, kind}:
        raise SupervisionMismatch(kind, project.supervision)
    check_mask_values(mask, class_values(project))
    check_mask_labelled(mask)
    if kind == AnnotationKind.FULL and (unlabelled := int((mask == UNLABELLED).sum())):
        raise MaskIncomplete(unlabelled)


def _append_version(
    session: Session,
    blobs: BlobStore,
    project: Project,
    slice_: Slice,
    annotation: Annotation | None,
    mask: NDArray[np.uint8],
    submission: Submission,
) -> AnnotationVersion:
    now = database_now(session)
    if annotation is None:
        annotation = Annotation(project_id=project.id, slice_id=slice_.id, head_id=uuid.UUID(int=0), updated_at=now)
        session.add(annotation)
        session.flush()
        number, parent = 1, None
    else:
        head = session.get_one(AnnotationVersion, annotation.head_id)
        number, parent = head.number + 1, head.id
    body = encode_mask(mask)
    small = len(body) <= _ROW_LIMIT_BYTES
    version = AnnotationVersion(
        annotation_id=annotation.id,
        number=number,
        parent_id=parent,
        kind=submission.kind,
        author=submission.author,
        source=submission.source,
        lead_time_ms=submission.lead_time_ms,
        pixel_counts={str(value): count for value, count in count_mask_values(mask).items()},
        mask=body if small else None,
        mask_key=None if small else blobs.put(body),
        created_at=now,
    )
    session.add(version)
    session.flush()
    annotation.head_id = version.id
    annotation.updated_at = now
    session.flush()
    return version
