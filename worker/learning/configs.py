"""The settings of every training: plain fields that travel as JSON, each with its unit and source."""

from dataclasses import dataclass
from math import inf

from worker.learning.errors import ConfigError
from worker.learning.precision import PRECISIONS

NETWORKS = ("unet", "dmpls", "resnet50-unet", "resnet50-dmpls")
RESIZES = ("nearest", "area")  # see worker.learning.resize


@dataclass(frozen=True)
class EncoderConfig:
    """How a contrastive encoder is trained (Vepa et al., NeurIPS 2024, Section 4 and Appendix A)."""

    image_size: int = 256  # pixels a side
    batch_slices: int = 9  # slices a batch, rounded down to whole groups; 9 = three groups of three
    epochs: int = 100  # passes in which every slice is an anchor once
    learning_rate: float = 3e-4  # Adam, no schedule
    weight_decay: float = 1e-6  # Adam's L2 term
    temperature: float = 0.5  # tau of all terms; the paper is silent, the published code has it
    weight_nt_xent: float = 1.0  # lambda 0 of Eq. 5; all four: the paper's ACDC setting
    weight_patient: float = 0.05  # lambda 1
    weight_volume: float = 0.35  # lambda 2
    weight_slice: float = 0.0  # lambda 3
    mates: str = ""  # relations that groups get a mate for though their weight is 0, comma-separated: a control
    anchors: str = "both"  # "both" views, or "first" as Eq. 4 is printed
    nt_xent_negatives: str = "all"  # other slices, as the paper keeps it, or "other-patients" alone
    legacy: bool = False  # the group loss of the published code, for comparison; only the weights' sum counts then
    start: str = "imagenet"  # "imagenet" or "scratch"
    resize: str = "nearest"  # "nearest" as published, or "area" for inputs far below the native size
    precision: str = "auto"  # "auto": bfloat16 where the device has it; "float32"
    embed_batch: int = 128  # slices a forward pass without gradients

    def __post_init__(self) -> None:
        """Refuse values that no training could use (ConfigError)."""
        _refuse_below(self, 1, "image_size", "batch_slices", "epochs", "embed_batch")
        _refuse_not_positive(self, "learning_rate", "temperature")
        _refuse_below(self, 0, "weight_decay", "weight_nt_xent", "weight_patient", "weight_volume", "weight_slice")
        _refuse_unlisted(self, "anchors", ("both", "first"))
        _refuse_unlisted(self, "nt_xent_negatives", ("all", "other-patients"))
        _refuse_unlisted(self, "start", ("imagenet", "scratch"))
        _refuse_unlisted(self, "precision", PRECISIONS)
        _refuse_unlisted(self, "resize", RESIZES)
        for name in filter(None, self.mates.split(",")):
            if name not in {"slice", "volume", "patient"}:
                raise ConfigError("mates", self.mates, "some of slice, volume and patient, comma-separated")
        if self.weight_nt_xent == 0 and not any(weight for _, weight in self.relation_weights):
            raise ConfigError("weight_nt_xent", self.weight_nt_xent, "above 0 when all other weights are 0")
        if self.group_size > self.batch_slices:
            raise ConfigError("batch_slices", self.batch_slices, f"at least the group size {self.group_size}")

    @property
    def relation_weights(self) -> tuple[tuple[str, float], ...]:
        """The relations of Eq. 5 with their weights, zero ones included."""
        return (("slice", self.weight_slice), ("volume", self.weight_volume), ("patient", self.weight_patient))

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that a group has a mate for: those of a weight above zero, and those of `mates`."""
        also = self.mates.split(",")
        return tuple(name for name, weight in self.relation_weights if weight > 0 or name in also)

    @property
    def group_size(self) -> int:
        """Slices a group: the anchor and one mate for each relation."""
        return 1 + len(self.relations)


def _refuse_below(config: object, least: float, *fields: str) -> None:
    for field in fields:
        if not getattr(config, field) >= least:  # also true of NaN
            raise ConfigError(field, getattr(config, field), f"at least {least}")


def _refuse_not_positive(config: object, *fields: str) -> None:
    for field in fields:
        if not getattr(config, field) > 0:
            raise ConfigError(field, getattr(config, field), "above 0")


def _refuse_unlisted(config: object, field: str, allowed: tuple[str, ...]) -> None:
    if getattr(config, field) not in allowed:
        raise ConfigError(field, getattr(config, field), f"one of {', '.join(allowed)}")


@dataclass(frozen=True)
class SegmentationConfig:
    """How one member is trained to segment (Luo et al., MICCAI 2022; Vepa et al., NeurIPS 2024, Section 4)."""

    network: str = "unet"  # of NETWORKS: a U-Net for masks, or one with two decoders ("dmpls") for scribbles
    start: str = "imagenet"  # weights of a ResNet-50's encoder: "imagenet", "lvm-med" or "scratch"; "unet" has none
    classes: int = 4  # with background; labels are 0 to classes - 1
    channels: int = 1  # 1 grey or 3 colour
    image_size: int = 256  # pixels a side, a multiple of 16
    iterations: int = 600  # steps; the paper takes 60,000 times the labelled share of the pool
    batch_size: int = 6  # slices a step; the last batch of an epoch may be smaller
    optimizer: str = "sgd"  # "sgd" as published; "adamw" converges in fewer steps on a CPU
    learning_rate: float = 0.01  # at the first step
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-4  # applied to every parameter
    poly_power: float = 0.9  # the rate falls as (1 - step / iterations) ** poly_power
    pseudo_weight: float = 0.5  # weight of the pseudo labels' term; dmpls only
    pseudo_labels: str = "hard"  # "hard": their Dice (DMPLS); "soft": cross entropy with the mixture itself (DMSPS)
    pseudo_ramp: float = 0.0  # share of the iterations over which pseudo_weight rises to its full value
    shut_out_background: bool = False  # label what background scribbles shut out; see worker.learning.scribbles
    augmentation: str = "published"  # "published": turns, flips, small rotations; "strong": see augment_strong
    ema_decay: float = 0.0  # of the moving average that validates and predicts; 0: the trained weights themselves
    validate_every: int = 200  # steps between two validations; the last step is always validated
    resize: str = "nearest"  # "nearest" as published, or "area" for inputs far below the native size
    precision: str = "auto"  # "auto": bfloat16 where the device has it; "float32"

    def __post_init__(self) -> None:
        """Refuse values that no training could use (ConfigError)."""
        words = (
            ("network", NETWORKS),
            ("start", ("imagenet", "lvm-med", "scratch")),
            ("optimizer", ("sgd", "adamw")),
            ("pseudo_labels", ("hard", "soft")),
            ("augmentation", ("published", "strong")),
            ("precision", PRECISIONS),
            ("resize", RESIZES),
        )
        for field, allowed in words:
            if getattr(self, field) not in allowed:
                raise ConfigError(field, getattr(self, field), f"one of {', '.join(allowed)}")
        halved = 32 if self.network.startswith("resnet50") else 16  # how much smaller the deepest map is
        ranges = (
            ("classes", 2 <= self.classes <= 255, "from 2 to 255, background included"),
            ("shut_out_background", self.classes < 255 or not self.shut_out_background, "off with 255 classes"),
            ("channels", self.channels in {1, 3}, "1 or 3"),
            ("image_size", self.image_size >= 32 and self.image_size % halved == 0, f"a multiple of {halved}, from 32"),
            ("iterations", self.iterations >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < inf, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", 0 <= self.weight_decay < inf, "at least 0"),
            ("poly_power", 0 <= self.poly_power < inf, "at least 0"),
            ("pseudo_weight", 0 <= self.pseudo_weight < inf, "at least 0"),
            ("pseudo_ramp", 0 <= self.pseudo_ramp <= 1, "from 0 to 1"),
            ("ema_decay", 0 <= self.ema_decay < 1, "from 0 to below 1"),
            ("validate_every", self.validate_every >= 1, "at least 1"),
        )
        for field, holds, allowed_range in ranges:
            if not holds:
                raise ConfigError(field, getattr(self, field), allowed_range)

    @property
    def has_two_decoders(self) -> bool:
        """True for the networks that learn from scribbles."""
        return self.network.endswith("dmpls")
