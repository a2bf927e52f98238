"""Predictions: the ensemble's masks of whole volumes, each with the round whose models made it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Job, Prediction, Project, Round, Slice, Volume
from app.errors import RecordNotFound
from app.names import JobKind, Split
from app.services.jobs import queue_job
from app.services.lookup import find_row
from app.services.models import pinned_round_id, version_in_use
from app.services.volumes import list_volumes
from app.storage.blobs import BlobStore
from app.storage.planes import PlanePack, read_plane_body


@dataclass(frozen=True)
class PredictedVolume:
    """The stored mask of one volume, and the pack of its uncertainty (uint8, 255 = all classes equally probable)."""

    volume_id: uuid.UUID
    mask_key: str
    uncertainty: PlanePack


def request_predictions(session: Session, project: Project, split: Split | None = None) -> Job:
    """Queue the prediction of all volumes (of one split) with the model version in use."""
    version = version_in_use(session, project)
    volume_ids = [str(volume.id) for volume in list_volumes(session, project, split)]
    return queue_job(
        session,
        project_id=project.id,
        kind=JobKind.PREDICT,
        round_id=version.round_.id,
        payload={"volume_ids": volume_ids},
    )


def record_predictions(session: Session, round_: Round, predicted: Sequence[PredictedVolume]) -> None:
    """Store the masks; those that the same round predicted before are replaced."""
    present = {
        row.volume_id: row for row in session.scalars(select(Prediction).where(Prediction.round_id == round_.id))
    }
    for each in predicted:
        row = present.get(each.volume_id)
        if row is None:
            row = Prediction(project_id=round_.project_id, round_id=round_.id, volume_id=each.volume_id)
            session.add(row)
        row.mask_key = each.mask_key
        row.uncertainty_key, row.uncertainty_offsets = each.uncertainty.key, list(each.uncertainty.offsets)


def latest_prediction(session: Session, volume: Volume) -> Prediction | None:
    """The prediction that is shown for a volume: of the promoted version, else of the newest that predicted it."""
    made = select(Prediction).join(Round, Prediction.round_id == Round.id).where(Prediction.volume_id == volume.id)
    pinned = pinned_round_id(session, volume.project_id)
    if pinned is not None:
        made = made.where(Prediction.round_id == pinned)
    return session.scalar(made.order_by(Round.number.desc()).limit(1))


def read_uncertainty_body(blobs: BlobStore, prediction: Prediction, slice_: Slice) -> bytes | None:
    """The gzip bytes of a slice's (H, W) uint8 uncertainty; None for a prediction made before there were any."""
    if prediction.uncertainty_key is None or prediction.uncertainty_offsets is None:
        return None
    volume = slice_.volume
    pack = PlanePack(
        prediction.uncertainty_key,
        "uint8",
        volume.depth,
        volume.height,
        volume.width,
        1,
        tuple(prediction.uncertainty_offsets),
    )
    return read_plane_body(blobs, pack, slice_.index)


def find_prediction(session: Session, volume_id: uuid.UUID, reference: str) -> Prediction:
    """The prediction with this id, if it is one of this volume; raises RecordNotFound."""
    found = find_row(session, Prediction, "prediction", reference)
    if found.volume_id != volume_id:
        raise RecordNotFound("prediction", reference)
    return found
