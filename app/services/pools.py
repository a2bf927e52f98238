"""The train slices of a project: what selection chooses from, and what a training learns from.

Both are plain records in an order that is the same on every database, so that the same seed makes the same picks.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass

from sqlalchemy import ScalarSelect, Select, func, or_, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.models import Annotation, AnnotationVersion, Patient, Pick, Project, Review, Round, Slice, Volume
from app.names import AnnotationKind, Split, Verdict


@dataclass(frozen=True)
class AnnotatedSlice:
    """One annotated train slice, as plain facts for the workshop."""

    slice_id: uuid.UUID
    volume_id: uuid.UUID
    index: int
    version_id: uuid.UUID
    kind: AnnotationKind


@dataclass(frozen=True)
class PoolSlice:
    """One train slice as selection and the encoder see it; it knows no mask."""

    slice_id: uuid.UUID
    volume_id: uuid.UUID
    patient_id: uuid.UUID
    patient_code: str
    index: int
    annotated: bool
    proposed: bool
    excluded: bool


@dataclass(frozen=True)
class PoolCount:
    """Train slices; those that are not excluded (what was annotated counts as usable); those annotated or proposed."""

    slices: int
    usable: int
    known: int


def count_at_budget(pool: int, percent: float) -> int:
    """Cumulative slices at a budget: floor(N·p), at least 1. (784 slices -> 15, 23, 31, 39 at 2-5 %.)"""
    # The epsilon undoes binary fractions (0.29 * 100 = 28.999...); it is far below one slice of any pool.
    return max(1, math.floor(pool * percent / 100 + 1e-9))


def list_pool(session: Session, project: Project) -> list[PoolSlice]:
    """All train slices, ordered by patient, volume name and index, so that the order is the same on every engine."""
    rows = session.execute(
        select(Slice.id, Slice.volume_id, Patient.id, Patient.code, Slice.index, Annotation.id, Pick.id)
        .add_columns(Slice.excluded)
        .join(Volume, Slice.volume_id == Volume.id)
        .join(Patient, Volume.patient_id == Patient.id)
        .outerjoin(Annotation, Annotation.slice_id == Slice.id)
        .outerjoin(Pick, Pick.slice_id == Slice.id)
        .where(Slice.project_id == project.id, Patient.split == Split.TRAIN)
        .add_columns(Volume.name)
    ).all()
    # Sorted here: collations differ between databases, and the picks must not.
    ordered = sorted(rows, key=lambda row: (row[3], row[8], row[4]))
    return [
        PoolSlice(slice_id, volume_id, patient_id, code, index, annotation is not None, pick is not None, excluded)
        for slice_id, volume_id, patient_id, code, index, annotation, pick, excluded, _ in ordered
    ]


def training_set(session: Session, round_: Round) -> list[AnnotatedSlice]:
    """The current annotations of all train slices, as plain records in a fixed order; none that a reviewer rejected."""
    rows = session.execute(
        select(Slice.id, Slice.volume_id, Slice.index, AnnotationVersion.id, AnnotationVersion.kind)
        .join(Annotation, Annotation.slice_id == Slice.id)
        .join(AnnotationVersion, AnnotationVersion.id == Annotation.head_id)
        .join(Volume, Slice.volume_id == Volume.id)
        .join(Patient, Volume.patient_id == Patient.id)
        .where(Slice.project_id == round_.project_id, Patient.split == Split.TRAIN)
        .where(func.coalesce(newest_verdict(Annotation.head_id), "") != Verdict.REJECT)
        .add_columns(Patient.code, Volume.name)
    ).all()
    ordered = sorted(rows, key=lambda row: (row[5], row[6], row[2]))
    return [
        AnnotatedSlice(slice_id, volume_id, index, version_id, AnnotationKind(kind))
        for slice_id, volume_id, index, version_id, kind, _, _ in ordered
    ]


def newest_verdict(version_id: InstrumentedAttribute[uuid.UUID]) -> ScalarSelect[str]:
    """What was last said of the version in this column, as a part of a query; null: nothing yet."""
    said = select(Review.verdict).where(Review.version_id == version_id)
    return said.order_by(Review.id.desc()).limit(1).scalar_subquery()


def count_pool(session: Session, project: Project) -> PoolCount:
    """What is there to choose from, counted by the database."""
    train = (
        select(Slice.id, Slice.excluded)
        .join(Volume, Slice.volume_id == Volume.id)
        .join(Patient, Volume.patient_id == Patient.id)
        .where(Slice.project_id == project.id, Patient.split == Split.TRAIN)
    )
    annotated = select(Annotation.slice_id).where(Annotation.project_id == project.id)
    proposed = select(Pick.slice_id).where(Pick.project_id == project.id)
    fit = train.where(or_(~Slice.excluded, Slice.id.in_(annotated)))
    touched = union(proposed, annotated).subquery()
    known = fit.where(Slice.id.in_(select(touched.c.slice_id)))

    def count(query: Select[uuid.UUID, bool]) -> int:
        return session.scalars(select(func.count()).select_from(query.subquery())).one()

    return PoolCount(count(train), count(fit), count(known))
