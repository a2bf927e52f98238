"""Turns: who may say something of a slice now, apart from whose seat it is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Project, Slice
from app.errors import NothingToJudge, OwnWork, ReadingsIncomplete, SliceAccepted, SliceNotProposed
from app.names import AnnotationKind, Purpose, Verdict
from app.services import assignments
from app.services.pools import newest_verdict

JUDGED = {
    Purpose.ADJUDICATE: (Purpose.ANNOTATE,),
    Purpose.REVIEW: (Purpose.ANNOTATE, Purpose.ADJUDICATE),
}
"""As what nobody may have drawn on a slice who draws as a judge of it: one may go over one's own judgement again."""


@dataclass(frozen=True)
class Rights:
    """What the role of whoever submits adds to the seats that they are handed.

    `corrects`: they may replace what a review accepted, which is then reviewed again. `unasked`: of a project whose
    slices are read blind they may annotate one that no round proposed.
    """

    corrects: bool = False
    unasked: bool = False


AS_HANDED = Rights()
"""An annotator's, and the oracle's: nothing beyond their seats."""


@dataclass(frozen=True)
class Submission:
    """Who submits what kind of mask, and what they saw before."""

    kind: AnnotationKind
    author: str
    expected_version: str  # tag of the current version, NO_VERSION or ANY_VERSION
    source: str = "annotator"
    lead_time_ms: int | None = None
    purpose: Purpose = Purpose.ANNOTATE
    entered_by: str | None = None  # who sends it in the author's name
    origin_id: uuid.UUID | None = None  # the version that is repeated
    prediction_id: uuid.UUID | None = None  # the prediction that was drawn over
    rights: Rights = AS_HANDED


def check_turn(
    session: Session,
    project: Project,
    slice_: Slice,
    annotation: Annotation | None,
    submission: Submission,
    *,
    blind: bool,
) -> None:
    """Refuse a reading that nobody asked for, and a judgement that comes too early or on one's own work.

    Raises SliceNotProposed, ReadingsIncomplete, NothingToJudge and OwnWork.
    """
    if submission.purpose == Purpose.ANNOTATE:
        asked = blind or project.overlap == 1 or submission.rights.unasked
        if not asked and assignments.any_seat(session, slice_.id) is None:
            raise SliceNotProposed(slice_.id)
        return
    if blind:
        raise ReadingsIncomplete(slice_.id)
    if annotation is None:
        raise NothingToJudge(slice_.id)
    judged = JUDGED[submission.purpose]
    if assignments.has_drawn(session, annotation, submission.author, judged):
        raise OwnWork(submission.author)


def reopens_review(session: Session, base: AnnotationVersion | None, slice_: Slice, submission: Submission) -> bool:
    """Whether this submission replaces accepted work, so that it is reviewed in its turn; raises SliceAccepted.

    A fix does not: it is what a reviewer says of the version before it.
    """
    if submission.purpose == Purpose.REVIEW or base is None or not _is_accepted(session, base):
        return False
    if not submission.rights.corrects:
        raise SliceAccepted(slice_.id)
    return True


def _is_accepted(session: Session, head: AnnotationVersion) -> bool:
    if head.purpose == Purpose.REVIEW:
        return True  # the fix of a reviewer
    verdict = session.scalar(select(newest_verdict(AnnotationVersion.id)).where(AnnotationVersion.id == head.id))
    return verdict == Verdict.ACCEPT
