"""Words that the service and the workers share: closed sets of names, and the torch-free table of strategies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UNLABELLED = 255
"""The mask value of a pixel that nobody labelled; never the same thing as background (0)."""


class Supervision(StrEnum):
    """What kinds of annotation a project trains on."""

    SCRIBBLE = "scribble"
    FULL = "full"
    MIXED = "mixed"


class Scribbles(StrEnum):
    """Where the oracle's scribbles of a data set come from."""

    GIVEN = "given"
    SIMULATE = "simulate"


class AnnotationKind(StrEnum):
    """How one slice was annotated: a few strokes, or every pixel."""

    SCRIBBLE = "scribble"
    FULL = "full"


class Split(StrEnum):
    """Fixed per patient when the patient is made, so that no patient is both learned from and judged on."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class JobKind(StrEnum):
    """What a job does."""

    TRAIN_ENCODER = "train_encoder"
    PROPOSE = "propose"
    TRAIN_SEGMENTATION = "train_segmentation"
    EVALUATE = "evaluate"
    PREDICT = "predict"
    IMPORT = "import"
    EXPORT = "export"
    COVERAGE = "coverage"


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when the job will never change again."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class Role(StrEnum):
    """What somebody is in a project; each may do what those before it may."""

    VIEWER = "viewer"
    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    MANAGER = "manager"
    OWNER = "owner"

    def covers(self, needed: Role) -> bool:
        """True when this role may do what `needed` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


class Scope(StrEnum):
    """How much of what its account may do a token may do; each includes those before it."""

    READ = "read"
    ANNOTATE = "annotate"
    MANAGE = "manage"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        """True when this scope allows what `needed` allows."""
        ranks = list(Scope)
        return ranks.index(self) >= ranks.index(needed)


class Queue(StrEnum):
    """Which workers may take a job."""

    CPU = "cpu"
    GPU = "gpu"


QUEUE_OF: dict[JobKind, Queue] = {
    JobKind.TRAIN_ENCODER: Queue.GPU,
    JobKind.PROPOSE: Queue.GPU,
    JobKind.TRAIN_SEGMENTATION: Queue.GPU,
    JobKind.EVALUATE: Queue.GPU,
    JobKind.PREDICT: Queue.GPU,
    JobKind.IMPORT: Queue.CPU,
    JobKind.EXPORT: Queue.CPU,
    JobKind.COVERAGE: Queue.CPU,
}


class RoundState(StrEnum):
    """A round: slices are proposed, annotated, learned from and judged; `failed` names its job."""

    PROPOSING = "proposing"
    ANNOTATING = "annotating"
    TRAINING = "training"
    EVALUATING = "evaluating"
    CLOSED = "closed"
    FAILED = "failed"


class LeaseState(StrEnum):
    """A lease is one person's right to work on one slice for a while."""

    ACTIVE = "active"
    SUBMITTED = "submitted"
    EXPIRED = "expired"
    RELEASED = "released"
    SKIPPED = "skipped"
    TAKEN_OVER = "taken_over"
    EXCLUDED = "excluded"  # somebody else found the slice unfit


class DeletedKind(StrEnum):
    """What can be deleted."""

    PROJECT = "project"
    PATIENT = "patient"
    VOLUME = "volume"


class SliceOutcome(StrEnum):
    """What became of a slice that a mask of several covers."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"  # the mask is the one that its author sees already
    LEFT = "left"  # it is not theirs to write now


class Purpose(StrEnum):
    """What somebody is to do with a slice."""

    ANNOTATE = "annotate"
    ADJUDICATE = "adjudicate"
    REVIEW = "review"

    @property
    def role(self) -> Role:
        """The least role that may do it."""
        return Role.ANNOTATOR if self == Purpose.ANNOTATE else Role.REVIEWER


class SkipReason(StrEnum):
    """Why somebody passes a slice on; the first two exclude it for everybody."""

    UNSUITABLE = "unsuitable"
    BAD_IMAGE = "bad_image"
    UNSURE = "unsure"
    OTHER = "other"

    @property
    def excludes(self) -> bool:
        """True when nobody shall be shown the slice again."""
        return self in {SkipReason.UNSUITABLE, SkipReason.BAD_IMAGE}


class Verdict(StrEnum):
    """What a reviewer says of an annotation."""

    ACCEPT = "accept"
    FIX = "fix"
    REJECT = "reject"


class WebhookEvent(StrEnum):
    """What a webhook can be told of."""

    ROUND_PROPOSED = "round.proposed"
    ROUND_CLOSED = "round.closed"
    ROUND_FAILED = "round.failed"
    ANNOTATION_SUBMITTED = "annotation.submitted"
    PING = "ping"


class DeliveryState(StrEnum):
    """A delivery waits for its first or next try, was taken, or was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class ExportFormat(StrEnum):
    """What other software an export is for."""

    NIFTI = "nifti"
    DICOM_SEG = "dicom-seg"
    NNUNET = "nnunet"
    PNG = "png"
    COCO = "coco"
    LABEL_STUDIO = "label-studio"


class ExportPart(StrEnum):
    """Which masks of a volume are exported; the last two are derived, and never stored as annotations."""

    ANNOTATIONS = "annotations"
    PREDICTIONS = "predictions"
    MERGED = "merged"  # annotated pixels as annotated, all others as predicted
    INTERPOLATED = "interpolated"  # between fully annotated slices, by shape


class ModelKind(StrEnum):
    """What a stored set of weights is."""

    ENCODER = "encoder"
    SEGMENTATION = "segmentation"


class Need(StrEnum):
    """What a strategy reads of the pool; the pool has a reader for exactly these."""

    PIXELS = "pixels"
    ENCODER = "encoder"
    IMAGENET = "imagenet"
    TASK = "task"
    PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class StrategyDescriptor:
    """A selection strategy as the API lists it: what it needs and what it costs, without torch."""

    name: str
    summary: str
    needs: frozenset[Need]
    cost: str
    source: str
    encoder_weights: str = ""  # a word of `protocols.WEIGHTS` that its encoder is trained by unless others are named


def _strategy(
    name: str, summary: str, needs: set[Need], cost: str, source: str, encoder_weights: str = ""
) -> StrategyDescriptor:
    return StrategyDescriptor(name, summary, frozenset(needs), cost, source, encoder_weights)


STRATEGIES: dict[str, StrategyDescriptor] = {
    descriptor.name: descriptor
    for descriptor in (
        _strategy(
            "gcl",
            "K-Center Greedy on features of the group-contrastive encoder",
            {Need.ENCODER},
            "one encoder training a project; then O(N·D) a pick",
            "Vepa et al., NeurIPS 2024, Eq. 4-5 and Algorithm 1; Sener and Savarese, ICLR 2018",
        ),
        _strategy(
            "coreset-pixels",
            "K-Center Greedy on the resized pixels",
            {Need.PIXELS},
            "O(N·H·W) a pick",
            "the 'Coreset' rows of Vepa et al., NeurIPS 2024",
        ),
        _strategy(
            "coreset-imagenet",
            "K-Center Greedy on features of the encoder without its contrastive training",
            {Need.IMAGENET},
            "one forward pass of a ResNet-18 a slice; then O(N·D) a pick",
            "the missing control of Vepa et al., NeurIPS 2024",
        ),
        _strategy(
            "coreset-task",
            "K-Center Greedy on the segmentation model's bottleneck",
            {Need.TASK},
            "half a forward pass a slice; then O(N·D) a pick",
            "Sener and Savarese, ICLR 2018, Algorithm 1",
        ),
        _strategy("random", "uniformly random slices", set(), "O(N log N)", "the usual null"),
        _strategy(
            "random-per-volume",
            "random slices, one of each volume in turn",
            set(),
            "O(N log N)",
            "the null for 'groups matter'",
        ),
        _strategy(
            "random-by-position",
            "random slices, stratified by relative position along the volume",
            set(),
            "O(N log N)",
            "the null for 'position matters'",
        ),
        _strategy(
            "variance-ratio",
            "slices on whose pixels the members' votes differ most",
            {Need.PROBABILITIES},
            "M forward passes a slice, for M members",
            "Beluch et al., CVPR 2018; the 'Variance Ratio' rows of Vepa et al., NeurIPS 2024",
        ),
        _strategy(
            "bald",
            "slices whose prediction tells most about the weights: mutual information over dropout passes",
            {Need.PROBABILITIES},
            "40·M forward passes a slice, for M members",
            "Houlsby et al., 2011; Gal et al., ICML 2017",
        ),
        _strategy(
            "stochastic-batches",
            "of 1000 random batches, the one with the highest mean entropy",
            {Need.PROBABILITIES},
            "M forward passes a slice, for M members; then O(1000·N)",
            "Gaillochet et al., Medical Image Analysis 2023, Algorithm 1",
        ),
        _strategy(
            "typiclust",
            "the most typical slice of each cluster that has no annotation yet",
            {Need.ENCODER},
            "one encoder training a project; then k-means, O(N·D·k) an iteration",
            "Hacohen et al., ICML 2022, Algorithm 1",
            encoder_weights="nt-xent",
        ),
        _strategy(
            "foreground-aware-random",
            "random slices, two thirds of them with a structure that the last round's members see",
            {Need.PROBABILITIES},
            "M forward passes a slice, for M members",
            "Lüth et al., nnActive, TMLR 2025",
        ),
        _strategy(
            "clasp-pe",
            "predictive entropy, stratified by class, with noise that fades from round to round",
            {Need.PROBABILITIES},
            "M forward passes a slice, for M members",
            "Lüth et al., Finally Outshining the Random Baseline, TMLR 2026; Kirsch et al., TMLR 2023",
        ),
        _strategy(
            "coregcn",
            "K-Center Greedy on a graph network that tells annotated slices from the others",
            {Need.TASK},
            "half a forward pass a slice; 200 passes of a graph network, O(N²·(D + 128)) each; then O(N) a pick",
            "Caramalau et al., CVPR 2021",
        ),
        _strategy(
            "vaal",
            "slices whose codes an adversary tells apart from those of annotated ones",
            {Need.PIXELS},
            "an autoencoder and a discriminator trained anew each round: about 100 passes of N slices",
            "Sinha et al., ICCV 2019, Algorithms 1 and 2",
        ),
    )
}

ROUND_STATE_DURING: dict[JobKind, RoundState] = {
    JobKind.TRAIN_ENCODER: RoundState.PROPOSING,
    JobKind.PROPOSE: RoundState.PROPOSING,
    JobKind.TRAIN_SEGMENTATION: RoundState.TRAINING,
    JobKind.EVALUATE: RoundState.EVALUATING,
}
"""The jobs that a round consists of: while one runs the round is in this state; if it fails the round has failed."""
