"""What the board counts: who annotated how much in what time, and on which volumes the newest models are worst."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Metric, Patient, Project, Round, Volume
from app.names import RoundState


@dataclass(frozen=True)
class Pace:
    """One author's work in a project; times are None where the tool never said how long it took."""

    author: str
    source: str
    slices: int
    versions: int
    total_ms: int | None
    median_ms: float | None
    last_at: datetime


@dataclass(frozen=True)
class VolumeScore:
    """How well the newest evaluated round does on one volume: the mean over its classes, then members."""

    volume_id: uuid.UUID
    patient: str
    name: str
    dice: float | None
    missed: int  # classes that a member missed altogether, or saw where there was none


def list_pace(session: Session, project: Project) -> list[Pace]:
    """Everybody who annotated, the busiest first."""
    rows = session.execute(
        select(
            AnnotationVersion.author,
            AnnotationVersion.source,
            Annotation.slice_id,
            AnnotationVersion.lead_time_ms,
            AnnotationVersion.created_at,
        )
        .join(Annotation, AnnotationVersion.annotation_id == Annotation.id)
        .where(Annotation.project_id == project.id)
    )
    works: dict[tuple[str, str], list[tuple[uuid.UUID, int | None, datetime]]] = defaultdict(list)
    for author, source, slice_id, lead_time_ms, created_at in rows:
        works[author, source].append((slice_id, lead_time_ms, created_at))
    paces = [_pace(author, source, versions) for (author, source), versions in works.items()]
    return sorted(paces, key=lambda pace: (-pace.slices, pace.author))


def list_worst_volumes(session: Session, project: Project) -> tuple[Round | None, list[VolumeScore]]:
    """The newest closed round that was evaluated, and its volumes, the worst first; unscored ones last."""
    newest = session.scalar(
        select(Round)
        .where(Round.project_id == project.id, Round.state == RoundState.CLOSED)
        .where(select(Metric.id).where(Metric.round_id == Round.id).exists())
        .order_by(Round.number.desc())
        .limit(1)
    )
    if newest is None:
        return None, []
    rows = session.execute(
        select(Metric.volume_id, Patient.code, Volume.name, Metric.member, Metric.dice, Metric.missed)
        .join(Volume, Metric.volume_id == Volume.id)
        .join(Patient, Volume.patient_id == Patient.id)
        .where(Metric.round_id == newest.id, Metric.member.is_not(None))
    )
    dice: dict[uuid.UUID, dict[int | None, list[float]]] = defaultdict(lambda: defaultdict(list))
    missed: dict[uuid.UUID, int] = defaultdict(int)
    names: dict[uuid.UUID, tuple[str, str]] = {}
    for volume_id, patient, name, member, value, was_missed in rows:
        names[volume_id] = (patient, name)
        missed[volume_id] += bool(was_missed)
        if value is not None:
            dice[volume_id][member].append(value)
    scores = [
        VolumeScore(key, *name, fmean(map(fmean, dice[key].values())) if dice[key] else None, missed[key])
        for key, name in names.items()
    ]
    return newest, sorted(scores, key=lambda score: (score.dice is None, score.dice or 0.0, score.patient, score.name))


def _pace(author: str, source: str, versions: list[tuple[uuid.UUID, int | None, datetime]]) -> Pace:
    times = [each for _, each, _ in versions if each is not None]
    return Pace(
        author=author,
        source=source,
        slices=len({slice_id for slice_id, _, _ in versions}),
        versions=len(versions),
        total_ms=sum(times) if times else None,
        median_ms=median(times) if times else None,
        last_at=max(at for _, _, at in versions),
    )
