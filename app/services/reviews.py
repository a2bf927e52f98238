"""Reviews and adjudication: what a further person says of what others drew. Nothing that was drawn is ever changed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Review, Slice, Volume
from app.db.session import database_now
from app.errors import CommentMissing, OwnWork, PinOutside, ReadingsIncomplete, VersionSuperseded
from app.names import AnnotationKind, Purpose, Verdict
from app.services import assignments
from app.services.annotations import submit_annotation
from app.services.history import slice_of, version_mask
from app.services.paging import ALL, Listed, Span, list_rows
from app.services.turns import Rights, Submission
from app.storage.blobs import BlobStore


@dataclass(frozen=True)
class Opinion:
    """A verdict with its comment, pinned to a pixel (column x, row y) or to none."""

    reviewer: str
    verdict: Verdict
    comment: str = ""
    x: float | None = None
    y: float | None = None


def review_version(session: Session, version: AnnotationVersion, opinion: Opinion) -> Review:
    """Accept or reject the current version of a slice; a rejected slice goes back to where it came from.

    Raises CommentMissing (a rejection says why), PinOutside, VersionSuperseded, OwnWork (nobody reviews a slice
    on which they drew), ReadingsIncomplete and SliceLeasedElsewhere.
    """
    slice_, project = slice_of(session, version)
    _check_opinion(opinion, slice_.volume)
    assignments.lock_slice(session, slice_.id)
    annotation = session.get_one(Annotation, version.annotation_id, populate_existing=True)
    # First: the refusal after it names the current version, which may be another reader's.
    if assignments.blind_slices(session, project, [slice_.id]):
        raise ReadingsIncomplete(slice_.id)
    if annotation.head_id != version.id:
        raise VersionSuperseded(version.id, annotation.head_id)
    if assignments.has_drawn(session, annotation, opinion.reviewer):
        raise OwnWork(opinion.reviewer)
    seat = assignments.find_seat(session, project, slice_.id, opinion.reviewer, Purpose.REVIEW)
    review = record_review(session, version, opinion)
    if opinion.verdict == Verdict.REJECT:
        assignments.reject(session, project, slice_.id)
    elif seat is not None:
        assignments.complete(session, project, seat)
    return review


def record_review(session: Session, version: AnnotationVersion, opinion: Opinion) -> Review:
    """Write an opinion down."""
    review = Review(
        version_id=version.id,
        reviewer=opinion.reviewer,
        verdict=opinion.verdict,
        comment=opinion.comment,
        x=opinion.x,
        y=opinion.y,
        created_at=database_now(session),
    )
    session.add(review)
    session.flush()
    return review


def list_reviews(session: Session, slice_: Slice, span: Span = ALL) -> Listed[Review]:
    """What was said of the versions of a slice, the oldest first."""
    query = (
        select(Review)
        .join(AnnotationVersion, Review.version_id == AnnotationVersion.id)
        .join(Annotation, AnnotationVersion.annotation_id == Annotation.id)
        .where(Annotation.slice_id == slice_.id)
    )
    return list_rows(session, query, [Review.id], span)


def choose_reading(
    session: Session, blobs: BlobStore, version: AnnotationVersion, adjudicator: str, expected_version: str
) -> AnnotationVersion:
    """A new version by the adjudicator with the mask of one of the readings; raises what a submission raises."""
    slice_, project = slice_of(session, version)
    submission = Submission(
        AnnotationKind(version.kind),
        adjudicator,
        expected_version,
        source="chosen",
        purpose=Purpose.ADJUDICATE,
        origin_id=version.id,
        rights=Rights(corrects=True),  # whoever adjudicates is a reviewer
    )
    return submit_annotation(session, blobs, project, slice_, version_mask(session, blobs, slice_, version), submission)


def _check_opinion(opinion: Opinion, volume: Volume) -> None:
    if opinion.verdict == Verdict.REJECT and not opinion.comment.strip():
        raise CommentMissing
    for place, length in ((opinion.x, volume.width), (opinion.y, volume.height)):
        if place is not None and not 0 <= place < length:
            raise PinOutside(opinion.x, opinion.y, volume.width, volume.height)
