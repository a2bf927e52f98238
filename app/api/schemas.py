"""Wire shapes: what the API takes and gives."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.names import AnnotationKind, DeletedKind, Purpose, SkipReason, SliceOutcome, Split, Supervision, Verdict

Item = TypeVar("Item")


class _ShownOnce:
    """Marks a field that nothing keeps (see `unkept_fields`)."""


SHOWN_ONCE = _ShownOnce()
"""`Annotated[str | None, SHOWN_ONCE]`: a secret that only the first answer shows."""


def unkept_fields(shape: object) -> frozenset[str]:
    """The fields of a wire shape that only the first answer shows: null in the one that is kept for a repetition."""
    fields = shape.model_fields if isinstance(shape, type) and issubclass(shape, BaseModel) else {}
    return frozenset(name for name, field in fields.items() if SHOWN_ONCE in field.metadata)


def plain_text(text: str) -> str:
    """The text; a NUL in it is a ValueError: SQLite would keep it, PostgreSQL cannot, and no name or word has one."""
    if "\0" in text:
        raise ValueError("a text must not hold a NUL character")
    return text


class Wire(BaseModel):
    """Read from rows and records by attribute name."""

    model_config = ConfigDict(from_attributes=True)


class Asked(BaseModel):
    """A request body; a field that does not exist is refused rather than ignored, and so is a text with a NUL in it."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _is_plain(cls, value: Any) -> Any:
        return plain_text(value) if isinstance(value, str) else value


class Page(BaseModel, Generic[Item]):
    """A list; `next_cursor` asks for what follows, null: that was all."""

    items: list[Item]
    next_cursor: str | None = None


class LabelClassWire(Wire):
    """One class of a label schema."""

    value: int = Field(examples=[1])
    name: str = Field(examples=["RV"])
    color: str = Field(examples=["#e6194b"])


class ProjectAsked(Asked):
    """A new project."""

    slug: str = Field(examples=["heart"])
    name: str = Field(examples=["Heart, short axis"])
    label_schema: list[LabelClassWire]
    supervision: Supervision = Supervision.SCRIBBLE
    strategy: str = "gcl"
    budgets: list[float] = Field(default=[2, 3, 4, 5], description="Cumulative percent of the train slices, ascending.")
    seed: int = 0
    preset: str = Field(default="paper", description="Training protocol: paper, cpu or tiny.")
    protocol: dict[str, Any] = Field(default_factory=dict, description="Fields of the preset to replace.")
    auto_train: bool = Field(default=True, description="Train as soon as a round's slices are annotated.")
    auto_propose: bool = Field(default=False, description="Open the next round as soon as one closes.")
    overlap: int = Field(default=1, description="How many people read each slice, blind to one another (1 to 10).")
    adjudicate: bool = Field(default=False, description="Readings that differ go to a further person.")
    review_percent: float = Field(default=0, description="Share of the slices that a reviewer looks at.")
    strategy_settings: dict[str, Any] = Field(default_factory=dict, description="See /v1/strategies.")


class ProjectChanges(Asked):
    """What is to be changed of a project; what is left out stays as it is."""

    name: str | None = None
    label_schema: list[LabelClassWire] | None = Field(
        default=None, description="All classes: with new ones, renamed or recoloured; none may be missing."
    )
    budgets: list[float] | None = Field(default=None, description="The whole schedule, rounds that are over included.")
    auto_train: bool | None = None
    auto_propose: bool | None = None
    overlap: int | None = Field(default=None, description="Before the first round only.")
    adjudicate: bool | None = Field(default=None, description="Before the first round only.")
    review_percent: float | None = Field(default=None, description="Of what is submitted from now on.")


class ProjectWire(Wire):
    """A project."""

    id: uuid.UUID
    slug: str
    name: str
    label_schema: list[LabelClassWire]
    schema_version: int = Field(description="Of the label schema: one more with each change.")
    supervision: Supervision
    strategy: str
    budgets: list[float]
    seed: int
    protocol: dict[str, Any]
    strategy_settings: dict[str, Any]
    auto_train: bool
    auto_propose: bool
    overlap: int
    adjudicate: bool
    review_percent: float
    created_at: datetime
    slices: dict[Split, int] = Field(default_factory=dict, description="Slices of each split.")
    annotated: int = 0


class StrategyWire(Wire):
    """A selection strategy: what it needs and costs."""

    name: str
    summary: str
    needs: list[str]
    cost: str
    source: str
    settings: dict[str, str] = Field(description="Name and what it may be; given to a project as strategy_settings.")


class VolumeWire(BaseModel):
    """A volume, without its voxels."""

    id: uuid.UUID
    patient_id: uuid.UUID
    patient: str
    split: Split
    name: str
    group: str
    shape: tuple[int, int, int] = Field(description="Slices, rows, columns.")
    channels: int
    dtype: str
    slope: float
    intercept: float
    spacing_mm: tuple[float, float, float] | None = Field(description="Between slices, rows and columns.")
    affine: list[list[float]]
    axis: int = Field(description="Axis of the file along which the slices are cut.")
    window: tuple[float, float] = Field(description="Low and high real value that show the volume well.")
    original_name: str
    original_sha256: str
    ground_truth: list[AnnotationKind] = Field(description="Kinds that the oracle could replay.")
    remarks: list[str] = Field(default_factory=list, description="What a person should know; only when taken in.")
    created_at: datetime


class SliceWire(BaseModel):
    """A slice: where it is and where it stands."""

    id: uuid.UUID
    volume_id: uuid.UUID
    patient: str
    volume: str
    split: Split
    index: int
    depth: int
    shape: tuple[int, int] = Field(description="Rows, columns.")
    spacing_mm: tuple[float, float] | None = Field(description="Between rows and columns.")
    annotation: str = Field(description='Version tag for If-Match; "0": not annotated, or not by you while read blind.')
    schema_version: int = Field(description="Of the project's label schema now; a submission may say it back.")
    excluded: bool = Field(default=False, description="Somebody skipped it as unfit: it is not proposed again.")
    proposal: PickWire | None = None


class PickWire(Wire):
    """A proposed slice: its place in the round, and why."""

    id: uuid.UUID
    round_id: uuid.UUID
    slice_id: uuid.UUID
    patient: str
    volume: str
    index: int
    depth: int
    order: int
    value: float
    reason: str
    nearest_slice_id: uuid.UUID | None
    seed: int
    annotated: bool


class RoundAsked(Asked):
    """A new round."""

    budget_percent: float | None = Field(default=None, description="Cumulative; default: the project's next budget.")


class RoundWire(Wire):
    """A round and what came of it."""

    id: uuid.UUID
    project_id: uuid.UUID
    number: int
    budget_percent: float
    target: int = Field(description="Cumulative slices at this budget.")
    state: str
    strategy: str
    seed: int
    cover_radius: float | None = Field(
        description="Largest distance of a slice to its nearest annotated or proposed one, in the strategy's space; for"
        " a strategy without one in that of the encoder's features, else of small pictures."
    )
    summary: dict[str, Any]
    created_at: datetime
    closed_at: datetime | None
    job_id: uuid.UUID | None = Field(default=None, description="The newest job of the round.")
    open_picks: int = Field(0, description="Slices that wait for somebody; of more than 1,000 so many are counted.")


class MetricWire(Wire):
    """What one member (null: the ensemble) reached on one class of one volume."""

    volume_id: uuid.UUID
    member: int | None
    split: Split
    class_value: int
    dice: float | None
    hd95: float | None
    hd95_unit: str = Field(description="Of hd95 and asd.")
    asd: float | None = Field(description="Average symmetric surface distance.")
    missed: bool


class LeaseAsked(Asked):
    """A wish for slices to work on."""

    annotator: str | None = Field(
        default=None, min_length=1, max_length=200, description="For managers: in whose name; else one's own."
    )
    n: int = Field(default=1, description="1 to 8; what the annotator holds already comes first.")
    purpose: Purpose = Purpose.ANNOTATE


class LeaseWire(BaseModel):
    """A slice held for an annotator until a moment."""

    id: uuid.UUID
    annotator: str
    purpose: Purpose
    state: str
    until: datetime = Field(description="When the first of the two clocks below runs out.")
    idle_until: datetime = Field(description="Moved by drafts alone.")
    live_until: datetime | None = Field(description="Moved by heartbeats; null: none was sent, so none is awaited.")
    skip_reason: SkipReason | None = None
    skip_note: str = ""
    slice: SliceWire


class SkipAsked(Asked):
    """Why a slice is passed on."""

    reason: SkipReason
    note: str = Field(default="", max_length=2000)


class TakeoverAsked(Asked):
    """Who takes a lease over."""

    annotator: str | None = Field(default=None, min_length=1, max_length=200)
    force: bool = Field(default=False, description="Even from somebody who is at work.")


class VersionWire(Wire):
    """One immutable version of a slice's annotation."""

    id: uuid.UUID
    number: int
    parent_id: uuid.UUID | None
    kind: AnnotationKind
    author: str
    entered_by: str | None = Field(description="Who sent it in the author's name; null: the author.")
    source: str
    purpose: Purpose
    origin_id: uuid.UUID | None = Field(description="The version that this one repeats: restored, or chosen.")
    prediction_id: uuid.UUID | None = Field(description="The prediction that it was drawn over.")
    lead_time_ms: int | None
    schema_version: int | None = Field(description="Of the label schema that it was checked against; null: not noted.")
    pixel_counts: dict[str, int]
    created_at: datetime


class DraftWire(BaseModel):
    """A saved draft; its mask is a GET away."""

    slice_id: uuid.UUID
    annotator: str
    tag: uuid.UUID
    kind: AnnotationKind
    base_version: str = Field(description="The annotation that it was drawn over.")
    lead_time_ms: int | None
    updated_at: datetime
    held: bool = Field(description="False: the lease is lost or never was; the draft is kept all the same.")


class DiffWire(BaseModel):
    """What two versions of a slice do not have in common."""

    version_id: uuid.UUID
    against_id: uuid.UUID
    changed_pixels: int
    dice: dict[int, float | None] = Field(description="Of each class; null: neither has it.")


class ReviewAsked(Asked):
    """A verdict on a version, a rejection with a comment; the comment may be pinned to a pixel of the slice."""

    annotator: str | None = Field(default=None, min_length=1, max_length=200)
    verdict: Literal[Verdict.ACCEPT, Verdict.REJECT]
    comment: str = Field(default="", max_length=5000)
    x: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="Column, in pixels.")
    y: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="Row, in pixels.")


class ReviewWire(Wire):
    """What a reviewer said of a version."""

    id: uuid.UUID
    version_id: uuid.UUID
    reviewer: str
    verdict: Verdict
    comment: str
    x: float | None
    y: float | None
    created_at: datetime


class PairAgreementWire(Wire):
    """How far two readers agree on one class; null: nothing to measure."""

    readers: tuple[str, str]
    class_value: int
    slices: int
    dice: float | None
    hd95: float | None
    hd95_unit: str
    missed: int = Field(description="Slices where one of the two has the class.")
    kappa: float | None = Field(description="Cohen's, over all pixels together.")


class AgreementWire(BaseModel):
    """Agreement over so many slices."""

    slices: int
    items: list[PairAgreementWire]


class DeletionWire(Wire):
    """Something that was deleted: hidden, restorable until `purge_after`."""

    id: uuid.UUID
    project_id: uuid.UUID
    kind: DeletedKind
    object_id: uuid.UUID
    label: str
    author: str
    created_at: datetime
    purge_after: datetime


class SliceResultWire(BaseModel):
    """What became of one slice: its version now, or why it was left (`code`, `detail`)."""

    outcome: SliceOutcome
    version: VersionWire | None = None
    code: str | None = None
    detail: str | None = None


class VolumeAnnotated(BaseModel):
    """What a mask of several slices did, by the index of each slice that it covers."""

    slices: dict[int, SliceResultWire]


class OracleAsked(Asked):
    """Which kind of ground truth to replay; default: the project's supervision."""

    kind: AnnotationKind | None = None


class OracleWire(BaseModel):
    """What the oracle annotated."""

    annotated: int
    round: RoundWire | None


class ModelWire(Wire):
    """A stored set of weights: an encoder, or one member of an ensemble."""

    id: uuid.UUID
    round_id: uuid.UUID | None
    version: int | None = Field(default=None, description="The number of the round that trained it.")
    kind: str
    member: int
    config: dict[str, Any]
    manifest: dict[str, Any] = Field(description="Seed, device and the annotation versions that it learned from.")
    metrics: dict[str, Any]
    created_at: datetime


class ModelVersionWire(BaseModel):
    """An ensemble: what it learned from, how it did, and whether predictions come from it."""

    version: int = Field(description="The number of the round that trained it.", examples=[3])
    round_id: uuid.UUID
    complete: bool = Field(description="All members are trained.")
    in_use: bool = Field(description="Predictions and pre-annotations come from it.")
    model_ids: list[uuid.UUID] = Field(description="Its members, in order.")
    annotation_versions: list[str] = Field(description="The data snapshot: annotation versions that it learned from.")
    config: dict[str, Any]
    metrics: dict[str, Any] = Field(description="Test figures of its round; empty until it is evaluated.")
    validation_dice: list[float | None] = Field(description="Of each member.")
    predicted_volumes: int
    created_at: datetime


_SIGNED = "Default: who asks. Another name is taken only by a service without accounts."


class PromotionAsked(Asked):
    """Which version predictions shall come from."""

    version: int | None = Field(description="A number of a version; null: always the newest.", examples=[2])
    author: str | None = Field(default=None, min_length=1, max_length=200, description=_SIGNED)


class RollbackAsked(Asked):
    """Who goes back to the version before."""

    author: str | None = Field(default=None, min_length=1, max_length=200, description=_SIGNED)


class PromotionWire(BaseModel):
    """Who decided, and when, which version predictions come from."""

    id: uuid.UUID
    version: int | None = Field(description="null: always the newest.")
    author: str
    created_at: datetime


class PredictionsAsked(Asked):
    """Which volumes to predict; default: all."""

    split: Split | None = None


class JobWire(Wire):
    """A job and how far it is."""

    id: uuid.UUID
    project_id: uuid.UUID
    round_id: uuid.UUID | None
    kind: str
    queue: str
    state: str
    attempts: int
    progress_done: int
    progress_total: int
    message: str
    queue_position: int | None = None
    time_left_s: float | None = None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    revision: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None


SliceWire.model_rebuild()
