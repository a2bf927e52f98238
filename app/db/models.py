"""All tables on one page.

    projects ─┬─ patients ── volumes ─┬─ slices ─┬─ annotations ── annotation_versions ── reviews
              │                       │          └─ drafts
              │                       ├─ ground_truths   (oracle and evaluation only)
              │                       └─ predictions
              ├─ rounds ── picks ── assignments ── leases
              ├─ models ── metrics
              ├─ snapshots
              ├─ webhooks ── webhook_deliveries
              ├─ promotions
              ├─ uploads ── upload_parts
              ├─ deletions       (and purged_blobs, which waits for the bytes)
              ├─ memberships ── accounts ─┬─ sessions
              │                           └─ tokens
              └─ jobs

    sign_in_attempts and audit_events stand alone

Facts are immutable: an annotation is superseded by a new version, never overwritten; a pick keeps its order, value,
reason and seed.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, validates

from app.names import DeliveryState, JobState, LeaseState, Purpose, RoundState

_newest_tick = 0
_tick_lock = threading.Lock()


def new_id() -> uuid.UUID:
    """A UUIDv7 that sorts after every earlier one of this process, unguessable in its 62 random bits.

    The twelve bits after the milliseconds are their fraction (RFC 9562, section 6.2, method 3): rows made within one
    millisecond would otherwise be listed in any order, and the newest of two could be the wrong one.
    """
    global _newest_tick  # noqa: PLW0603
    tick = time.time_ns() * 4096 // 1_000_000
    with _tick_lock:
        _newest_tick = tick = max(tick, _newest_tick + 1)
    milliseconds, fraction = divmod(tick, 4096)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0x2 << 62) | random)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: it would silently be read as another moment elsewhere."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The moment with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    """Tables with named constraints, so that migrations can drop what they made."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
        uuid.UUID: Uuid,
        str: Text,
    }


def _primary_key() -> Mapped[uuid.UUID]:
    return mapped_column(primary_key=True, default=new_id)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _made_at() -> Mapped[datetime]:
    return mapped_column(default=_utc_now)


class Project(Base):
    """One annotation task: a label schema, a strategy, a schedule of budgets and one training protocol."""

    __tablename__ = "projects"
    id: Mapped[uuid.UUID] = _primary_key()
    slug: Mapped[str] = mapped_column(String(100), unique=True)
    name: Mapped[str]
    label_schema: Mapped[list[Any]]  # [{"value": 1, "name": "RV", "color": "#rrggbb"}, ...], background included
    schema_version: Mapped[int] = mapped_column(default=1)  # of the label schema: one more with each change
    supervision: Mapped[str] = mapped_column(String(16))
    strategy: Mapped[str] = mapped_column(String(64))
    budgets: Mapped[list[Any]]  # cumulative percent of the train slices, ascending
    seed: Mapped[int]
    protocol: Mapped[dict[str, Any]]
    strategy_settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    auto_train: Mapped[bool] = mapped_column(default=True)
    auto_propose: Mapped[bool] = mapped_column(default=False)
    overlap: Mapped[int] = mapped_column(default=1)  # how many people read each slice, blind to one another
    adjudicate: Mapped[bool] = mapped_column(default=False)  # readings that differ go to a further person
    review_percent: Mapped[float] = mapped_column(Float, default=0.0)  # share of the slices that are reviewed
    deletion_id: Mapped[uuid.UUID | None]  # set: hidden, until restored or purged
    created_at: Mapped[datetime] = _made_at()

    @validates("label_schema")
    def _count_change(self, _name: str, schema: list[Any]) -> list[Any]:
        # Here, so that no way of changing the schema can forget it.
        if self.label_schema not in (None, schema):
            self.schema_version = (self.schema_version or 1) + 1
        return schema


class Patient(Base):
    """Whom the scans are of; the code is a pseudonym, the split is fixed here."""

    __tablename__ = "patients"
    __table_args__ = (UniqueConstraint("project_id", "code"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    code: Mapped[str] = mapped_column(String(200))
    split: Mapped[str] = mapped_column(String(16))
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    deletion_id: Mapped[uuid.UUID | None]  # set: hidden, until restored or purged


class Volume(Base):
    """One 3D scan: the file as taken in, and the pack of its slices derived from it."""

    __tablename__ = "volumes"
    __table_args__ = (UniqueConstraint("patient_id", "name"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    patient_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("patients.id"))
    name: Mapped[str] = mapped_column(String(200))
    group: Mapped[str] = mapped_column(String(64), default="")
    original_name: Mapped[str]
    original_key: Mapped[str]
    original_sha256: Mapped[str] = mapped_column(String(64))
    axis: Mapped[int]
    depth: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    channels: Mapped[int]
    dtype: Mapped[str] = mapped_column(String(16))
    slope: Mapped[float] = mapped_column(default=1.0)
    intercept: Mapped[float] = mapped_column(default=0.0)
    spacing_mm: Mapped[list[Any] | None]  # (z, y, x); null: the file does not say
    affine: Mapped[list[Any]]  # 4 x 4, voxel of the original array -> mm
    window_low: Mapped[float]
    window_high: Mapped[float]
    pack_key: Mapped[str]
    pack_offsets: Mapped[list[Any]]  # depth + 1 byte offsets into the pack
    deletion_id: Mapped[uuid.UUID | None]  # set: hidden, until restored or purged
    created_at: Mapped[datetime] = _made_at()
    patient: Mapped[Patient] = relationship(lazy="joined")


class Slice(Base):
    """One plane of a volume: what is proposed, leased and annotated."""

    __tablename__ = "slices"
    __table_args__ = (UniqueConstraint("volume_id", "index"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    volume_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("volumes.id"))
    index: Mapped[int]
    excluded: Mapped[bool] = mapped_column(default=False)  # somebody found it unfit: nobody is shown it again
    deletion_id: Mapped[uuid.UUID | None]  # set: hidden, until restored or purged
    volume: Mapped[Volume] = relationship(lazy="joined")
    annotation: Mapped[Annotation | None] = relationship(viewonly=True)
    pick: Mapped[Pick | None] = relationship(viewonly=True)


class GroundTruth(Base):
    """A dense mask or hand-drawn scribbles of a whole volume, for the oracle and for evaluation only."""

    __tablename__ = "ground_truths"
    __table_args__ = (UniqueConstraint("volume_id", "kind"),)
    id: Mapped[uuid.UUID] = _primary_key()
    volume_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("volumes.id"))
    kind: Mapped[str] = mapped_column(String(16))
    mask_key: Mapped[str]  # blob: gzip of uint8 (Z, H, W), 255 = unlabelled
    original_key: Mapped[str]


class Annotation(Base):
    """The head of a slice's annotation: which of its immutable versions is the current one, the one that trains."""

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("slice_id"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    slice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("slices.id"))
    head_id: Mapped[uuid.UUID]
    updated_at: Mapped[datetime] = mapped_column(default=_utc_now)


class AnnotationVersion(Base):
    """One mask of one slice as somebody submitted it; never changed."""

    __tablename__ = "annotation_versions"
    __table_args__ = (
        UniqueConstraint("annotation_id", "number"),
        Index("ix_annotation_versions_author", "author", "id"),  # a person's lead times, the newest first
    )
    id: Mapped[uuid.UUID] = _primary_key()
    annotation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("annotations.id"))
    number: Mapped[int]
    parent_id: Mapped[uuid.UUID | None]
    kind: Mapped[str] = mapped_column(String(16))
    author: Mapped[str] = mapped_column(String(200))
    entered_by: Mapped[str | None] = mapped_column(String(200))  # who sent it in the author's name
    source: Mapped[str] = mapped_column(String(32))  # "annotator", "oracle", "restored" or "chosen"
    purpose: Mapped[str] = mapped_column(String(16), default=Purpose.ANNOTATE)
    origin_id: Mapped[uuid.UUID | None]  # the version that this one repeats: restored, or chosen by an adjudicator
    prediction_id: Mapped[uuid.UUID | None]  # the prediction that it was drawn over
    lead_time_ms: Mapped[int | None]
    schema_version: Mapped[int | None]  # of the label schema that it was checked against; null: not noted then
    pixel_counts: Mapped[dict[str, Any]]  # class value -> pixels
    mask: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)  # gzip of uint8 (H, W)
    mask_key: Mapped[str | None]  # instead of `mask` where that would be large
    created_at: Mapped[datetime] = _made_at()


class Deletion(Base):
    """Something that is hidden and waits to be purged: a project, a patient or a volume with all that is theirs."""

    __tablename__ = "deletions"
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    object_id: Mapped[uuid.UUID]
    label: Mapped[str]  # what people call it
    author: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = _made_at()
    purge_after: Mapped[datetime] = mapped_column(index=True)


class PurgedBlob(Base):
    """A blob that purged rows named: it goes once no other row names it and nobody can be about to."""

    __tablename__ = "purged_blobs"
    blob: Mapped[str] = mapped_column(String(80), primary_key=True)  # not called a key: it is no reason to keep it
    purged_at: Mapped[datetime] = _made_at()


class Round(Base):
    """One turn of the loop at one cumulative budget."""

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("project_id", "number"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    number: Mapped[int]
    budget_percent: Mapped[float] = mapped_column(Float)
    target: Mapped[int]  # cumulative slices at this budget
    state: Mapped[str] = mapped_column(String(16), default=RoundState.PROPOSING)
    strategy: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int]
    encoder_id: Mapped[uuid.UUID | None]  # a model; no foreign key, for models point at rounds already
    cover_radius: Mapped[float | None]  # delta of the selection, in units of the feature space
    cover_key: Mapped[str | None]  # K-Center: every slice's distance to its nearest centre, for later rounds
    summary: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = _made_at()
    closed_at: Mapped[datetime | None]


class Pick(Base):
    """A slice that a round proposes: which place, why, and what chose it."""

    __tablename__ = "picks"
    __table_args__ = (UniqueConstraint("project_id", "slice_id"), UniqueConstraint("round_id", "order"))
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    round_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rounds.id"))
    slice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("slices.id"), index=True)
    order: Mapped[int]
    value: Mapped[float]
    reason: Mapped[str]
    nearest_slice_id: Mapped[uuid.UUID | None]
    seed: Mapped[int]
    annotated: Mapped[bool] = mapped_column(default=False)


class Assignment(Base):
    """What one person is to do with one picked slice: read it (seats 1 to n of n readings), adjudicate or review it."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("slice_id", "purpose", "seat"),
        Index(
            "ix_assignments_open",
            "project_id",
            "purpose",
            "round_id",
            "order",
            "seat",
            sqlite_where=text("NOT done"),
            postgresql_where=text("NOT done"),
        ),
        Index(
            "ix_assignments_open_in_round",
            "round_id",
            sqlite_where=text("NOT done"),
            postgresql_where=text("NOT done"),
        ),
    )
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    round_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rounds.id"))
    slice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("slices.id"))
    order: Mapped[int]  # of the pick
    purpose: Mapped[str] = mapped_column(String(16), default=Purpose.ANNOTATE)
    seat: Mapped[int] = mapped_column(default=1)
    done: Mapped[bool] = mapped_column(default=False)
    withdrawn: Mapped[bool] = mapped_column(default=False)  # done only because its volume was deleted
    # Written by whoever leases it: an updated row makes a second taker look again, which a row in another table would
    # not (PostgreSQL rechecks only what it locks).
    leased_until: Mapped[datetime | None]


class Lease(Base):
    """One person's right to do one assignment: until `until` without an edit, or `live_until` without a heartbeat."""

    __tablename__ = "leases"
    __table_args__ = (
        Index(
            "uq_leases_active_assignment",
            "assignment_id",
            unique=True,
            sqlite_where=text("state = 'active'"),
            postgresql_where=text("state = 'active'"),
        ),
        Index("ix_leases_project_holder", "project_id", "holder", "state"),
        Index("ix_leases_slice_holder", "slice_id", "holder"),
    )
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    assignment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("assignments.id"))
    slice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("slices.id"))
    purpose: Mapped[str] = mapped_column(String(16), default=Purpose.ANNOTATE)
    holder: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16), default=LeaseState.ACTIVE)
    until: Mapped[datetime]  # the idle clock: only edits move it
    live_until: Mapped[datetime | None]  # the liveness clock; null: the client never sent a heartbeat
    skip_reason: Mapped[str | None] = mapped_column(String(16))
    skip_note: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = _made_at()


class Draft(Base):
    """One person's unfinished mask of one slice; no clock deletes it."""

    __tablename__ = "drafts"
    __table_args__ = (UniqueConstraint("slice_id", "author"),)
    id: Mapped[uuid.UUID] = _primary_key()
    slice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("slices.id"))
    author: Mapped[str] = mapped_column(String(200))
    tag: Mapped[uuid.UUID]  # a new one with every change
    kind: Mapped[str] = mapped_column(String(16))
    base_version: Mapped[str] = mapped_column(String(64))  # tag of the annotation that it was drawn over
    lead_time_ms: Mapped[int | None]
    mask: Mapped[bytes] = mapped_column(LargeBinary)  # gzip of uint8 (H, W)
    updated_at: Mapped[datetime] = mapped_column(default=_utc_now)


class Review(Base):
    """What a reviewer said of one version."""

    __tablename__ = "reviews"
    id: Mapped[uuid.UUID] = _primary_key()
    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("annotation_versions.id"), index=True)
    reviewer: Mapped[str] = mapped_column(String(200))
    verdict: Mapped[str] = mapped_column(String(8))
    comment: Mapped[str] = mapped_column(default="")
    x: Mapped[float | None]  # where the comment is pinned, in pixels: column
    y: Mapped[float | None]  # and row
    created_at: Mapped[datetime] = _made_at()


class IdempotentAnswer(Base):
    """What a request with an `Idempotency-Key` was answered; kept for a day."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (UniqueConstraint("owner", "key"),)
    id: Mapped[uuid.UUID] = _primary_key()
    owner: Mapped[str] = mapped_column(String(64))  # the account's id, or "local"
    key: Mapped[str] = mapped_column(String(200))
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(default=_utc_now, index=True)


class Model(Base):
    """A stored set of weights with the configuration and the data snapshot that made it."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("round_id", "kind", "member"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id"))
    kind: Mapped[str] = mapped_column(String(16))
    member: Mapped[int] = mapped_column(default=0)
    weights_key: Mapped[str]
    features_key: Mapped[str | None]  # encoder: the features of the train slices
    config: Mapped[dict[str, Any]]
    manifest: Mapped[dict[str, Any]]  # versions, seed, start, device, snapshot of the data seen
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _made_at()


class Promotion(Base):
    """Somebody's decision which model version predictions come from; the newest one holds, none is ever changed."""

    __tablename__ = "promotions"
    __table_args__ = (Index("ix_promotions_project", "project_id", "id"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id"))  # null: the newest version, always
    author: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = _made_at()


class Metric(Base):
    """What one member (null: the ensemble) reached on one class of one volume."""

    __tablename__ = "metrics"
    __table_args__ = (
        Index("ix_metrics_round", "round_id", "member"),
        Index("ix_metrics_round_page", "round_id", "id"),
    )
    id: Mapped[uuid.UUID] = _primary_key()
    round_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rounds.id"))
    volume_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("volumes.id"), index=True)
    member: Mapped[int | None]
    split: Mapped[str] = mapped_column(String(16))
    class_value: Mapped[int]
    dice: Mapped[float | None]
    hd95: Mapped[float | None]
    hd95_unit: Mapped[str] = mapped_column(String(8))  # of both distances
    asd: Mapped[float | None]
    missed: Mapped[bool]
    slice_counts: Mapped[list[Any]]  # per slice: true positives, false positives, false negatives


class Prediction(Base):
    """The ensemble's mask of one volume, and how unsure it was of each pixel."""

    __tablename__ = "predictions"
    __table_args__ = (UniqueConstraint("round_id", "volume_id"),)
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    round_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rounds.id"))
    volume_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("volumes.id"), index=True)
    mask_key: Mapped[str]  # blob: gzip of uint8 (Z, H, W)
    uncertainty_key: Mapped[str | None]  # pack of uint8 planes: entropy of the mean probabilities, 255 = uniform
    uncertainty_offsets: Mapped[list[Any] | None]  # Z + 1 byte offsets into the pack
    created_at: Mapped[datetime] = _made_at()
    round: Mapped[Round] = relationship(lazy="joined")


class Snapshot(Base):
    """Which annotation versions and predictions a project had at one moment; never changed."""

    __tablename__ = "snapshots"
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    content_key: Mapped[str]  # blob: the whole as JSON (app.services.snapshots)
    mask_keys: Mapped[list[Any]]  # of the predictions named in it
    counts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _made_at()


class Upload(Base):
    """A file that comes in parts, each of which is durable when it is acknowledged."""

    __tablename__ = "uploads"
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    file_name: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    part_bytes: Mapped[int]
    sha256: Mapped[str | None] = mapped_column(String(64))  # as announced
    blob_key: Mapped[str | None]  # set when all parts were there and were what was announced
    created_at: Mapped[datetime] = _made_at()


class UploadPart(Base):
    """One part of an upload that is there."""

    __tablename__ = "upload_parts"
    __table_args__ = (UniqueConstraint("upload_id", "number"),)
    id: Mapped[uuid.UUID] = _primary_key()
    upload_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("uploads.id"))
    number: Mapped[int]
    blob_key: Mapped[str]


class Job(Base):
    """Work for a worker; the row, not any message, is the truth about it."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_claim", "queue", "state", "created_at"),
        Index("ix_jobs_project", "project_id", "id"),
    )
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    queue: Mapped[str] = mapped_column(String(8))
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    token: Mapped[int] = mapped_column(default=0)  # fencing: a worker that lost its lease writes nothing
    owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    wakes: Mapped[int] = mapped_column(default=0)
    woken_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(default=0)  # grows with every visible change: the event id of its stream
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    progress_from: Mapped[int] = mapped_column(default=0)  # where this stretch of the work began, and when:
    progress_since: Mapped[datetime | None]  # the pace since then says how much time is left
    message: Mapped[str] = mapped_column(default="")
    checkpoint: Mapped[dict[str, Any] | None]  # where another attempt goes on: {"key": blob, ...}
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _made_at()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Webhook(Base):
    """An address that is told what happens in a project."""

    __tablename__ = "webhooks"
    id: Mapped[uuid.UUID] = _primary_key()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    url: Mapped[str]
    events: Mapped[list[Any]]
    secret: Mapped[str]  # signs what is sent; shown once, when it is made
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = _made_at()


class WebhookDelivery(Base):
    """One event on its way to one webhook: written with the event itself, sent after the commit, kept as a log."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_due", "state", "next_at"),
        Index("ix_webhook_deliveries_webhook", "webhook_id", "id"),
    )
    id: Mapped[uuid.UUID] = _primary_key()
    webhook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(32))
    body: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    status: Mapped[int | None]  # the last answer's
    error: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = _made_at()
    delivered_at: Mapped[datetime | None]


class Account(Base):
    """A person, or a program, that signs in; its name is what leases and annotations are signed with."""

    __tablename__ = "accounts"
    id: Mapped[uuid.UUID] = _primary_key()
    name: Mapped[str] = mapped_column(String(100), unique=True)
    password_hash: Mapped[str | None]  # argon2id; null: no sign-in by password
    administrator: Mapped[bool] = mapped_column(default=False)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = _made_at()


class SignIn(Base):
    """A browser that is signed in."""

    __tablename__ = "sessions"
    id: Mapped[uuid.UUID] = _primary_key()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of 256 random bits
    until: Mapped[datetime]
    created_at: Mapped[datetime] = _made_at()


class ExternalIdentity(Base):
    """By which name an OpenID Connect provider knows the holder of an account."""

    __tablename__ = "external_identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"), UniqueConstraint("account_id", "issuer"))
    id: Mapped[uuid.UUID] = _primary_key()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = _made_at()


class SignInFlow(Base):
    """A sign-in through a provider that was begun; it goes with its first answer, whatever that is."""

    __tablename__ = "sign_in_flows"
    __table_args__ = (Index("ix_sign_in_flows_from", "address", "until"),)
    id: Mapped[uuid.UUID] = _primary_key()
    state_hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of 256 random bits
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    until: Mapped[datetime]


class ApiToken(Base):
    """A key for programs, with a scope."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("account_id", "name"),)
    id: Mapped[uuid.UUID] = _primary_key()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(100))
    scope: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    until: Mapped[datetime]
    created_at: Mapped[datetime] = _made_at()


class Membership(Base):
    """What an account is in a project."""

    __tablename__ = "memberships"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(16))


class SignInAttempt(Base):
    """A sign-in that failed or is being judged; counted by every API process alike."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (
        Index("ix_sign_in_attempts_name", "name", "at"),
        Index("ix_sign_in_attempts_from", "address", "at"),
    )
    id: Mapped[uuid.UUID] = _primary_key()
    name: Mapped[str] = mapped_column(String(100))
    address: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


class AuditEvent(Base):
    """Who did what to what; written with the change itself, refused by the database to be changed or deleted.

    It points at nothing by foreign key: what it tells of may be purged, the row stays.
    """

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_project", "project_id", "id"),)
    id: Mapped[uuid.UUID] = _primary_key()
    at: Mapped[datetime] = _made_at()
    actor: Mapped[str] = mapped_column(String(100))
    account_id: Mapped[uuid.UUID | None]
    action: Mapped[str] = mapped_column(String(200))  # method and path template
    project_id: Mapped[uuid.UUID | None]
    object: Mapped[str] = mapped_column(String(200))  # kind and id, e.g. "slice 0199..."
    request_id: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
