"""Predictions: the ensemble's masks of whole volumes, each with the round whose models made it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Job, Model, Prediction, Project, Round, Volume
from app.errors import NoModelYet
from app.names import JobKind, ModelKind, Split
from app.services.jobs import queue_job
from app.services.volumes import list_volumes


@dataclass(frozen=True)
class PredictedVolume:
    """The stored mask of one volume."""

    volume_id: uuid.UUID
    mask_key: str


def request_predictions(session: Session, project: Project, split: Split | None = None) -> Job:
    """Queue the prediction of all volumes (of one split) with the newest round that has models."""
    latest = session.scalar(
        select(Round)
        .join(Model, Model.round_id == Round.id)
        .where(Round.project_id == project.id, Model.kind == ModelKind.SEGMENTATION)
        .order_by(Round.number.desc())
        .limit(1)
    )
    if latest is None:
        raise NoModelYet(project.slug)
    volume_ids = [str(volume.id) for volume in list_volumes(session, project, split)]
    return queue_job(
        session,
        project_id=project.id,
        kind=JobKind.PREDICT,
        round_id=latest.id,
        payload={"volume_ids": volume_ids},
    )


def record_predictions(session: Session, round_: Round, predicted: Sequence[PredictedVolume]) -> None:
    """Store the masks; those that the same round predicted before are replaced."""
    present = {
        row.volume_id: row for row in session.scalars(select(Prediction).where(Prediction.round_id == round_.id))
    }
    for each in predicted:
        if each.volume_id in present:
            present[each.volume_id].mask_key = each.mask_key
        else:
            session.add(
                Prediction(
                    project_id=round_.project_id,
                    round_id=round_.id,
                    volume_id=each.volume_id,
                    mask_key=each.mask_key,
                )
            )


def latest_prediction(session: Session, volume: Volume) -> Prediction | None:
    """The prediction of the newest round for a volume."""
    return session.scalar(
        select(Prediction)
        .join(Round, Prediction.round_id == Round.id)
        .where(Prediction.volume_id == volume.id)
        .order_by(Round.number.desc())
        .limit(1)
    )
