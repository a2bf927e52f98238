"""The oracle: an annotator that knows the answers. It replays ground truth for the slices that are now proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import AnnotationVersion, Assignment, Project, Slice
from app.names import AnnotationKind, Purpose, RoundState, Supervision
from app.services import annotations as slice_annotations, assignments, leases, rounds
from app.services.ground_truth import read_ground_truth
from app.services.turns import Submission
from app.storage.blobs import BlobStore

if TYPE_CHECKING:
    import uuid

    import numpy as np
    from numpy.typing import NDArray

ORACLE = "oracle"


def annotate_proposed_slices(
    session: Session, blobs: BlobStore, project: Project, kind: AnnotationKind | None = None
) -> list[AnnotationVersion]:
    """Submit the stored ground truth for every proposed slice that still waits, in pick order.

    `kind` defaults to the project's supervision (`mixed`: full). Slices that somebody holds are left to them.
    Raises GroundTruthMissing when a slice has no ground truth of that kind; then nothing at all is submitted.
    """
    latest = rounds.latest_round(session, project)
    if latest is None or latest.state != RoundState.ANNOTATING:
        return []
    wanted = kind or _default_kind(project)
    waiting = session.scalars(
        select(Slice)
        .join(Assignment, Assignment.slice_id == Slice.id)
        .where(Assignment.round_id == latest.id, Assignment.purpose == Purpose.ANNOTATE, ~Assignment.done)
        .order_by(Assignment.order, Assignment.seat)
    ).all()
    masks: dict[uuid.UUID, NDArray[np.uint8]] = {}
    versions = []
    for slice_ in dict.fromkeys(waiting):
        if leases.find_other_holder(session, slice_.id, ORACLE) is not None:
            continue
        if project.overlap > 1 and assignments.latest_reading(session, slice_.id, ORACLE) is not None:
            continue  # it is one reader, and the other readings are other people's
        if slice_.volume_id not in masks:
            masks[slice_.volume_id] = read_ground_truth(session, blobs, slice_.volume, wanted)
        base = slice_annotations.visible_version(session, project, slice_, ORACLE)
        head = slice_annotations.NO_VERSION if base is None else str(base.id)
        submission = Submission(wanted, ORACLE, expected_version=head, source=ORACLE)
        mask = masks[slice_.volume_id][slice_.index]
        versions.append(slice_annotations.submit_annotation(session, blobs, project, slice_, mask, submission))
    return versions


def _default_kind(project: Project) -> AnnotationKind:
    return AnnotationKind.SCRIBBLE if project.supervision == Supervision.SCRIBBLE else AnnotationKind.FULL
