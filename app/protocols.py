"""Training protocols: one object says how every strategy of a project is trained and judged, so that none is favoured.

The numbers are plain JSON values under the field names of the learning core's configurations; a test holds the two
equal. The service stores them with the project and never interprets them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.errors import ProtocolRefused


def _demand(record: object, name: str, holds: bool, rule: str) -> None:
    if not holds:
        raise ProtocolRefused(f"{type(record).__name__} {name} must be {rule}, not {getattr(record, name)}")


@dataclass(frozen=True)
class EncoderProtocol:
    """How the group-contrastive encoder is trained; defaults as published (Vepa et al., NeurIPS 2024, App. A)."""

    image_size: int = 256  # pixels, square
    batch_slices: int = 9  # slices a batch, anchors and their mates together
    epochs: int = 100
    learning_rate: float = 3e-4
    weight_decay: float = 1e-6
    temperature: float = 0.5
    weight_nt_xent: float = 1.0
    weight_patient: float = 0.05
    weight_volume: float = 0.35
    weight_slice: float = 0.0
    mates: str = ""  # relations that batches are grouped by though their loss has no weight, comma-separated
    anchors: str = "both"  # views, or "first" as the group loss is printed
    nt_xent_negatives: str = "all"  # or "other-patients"
    legacy: bool = False  # the group loss of the paper's published code, for comparison
    start: str = "imagenet"  # or "scratch"
    resize: str = "nearest"  # or "area", for inputs far below the native size
    precision: str = "auto"  # or "float32"

    def __post_init__(self) -> None:
        """Refuse what would fail only when a worker begins."""
        _demand(self, "image_size", self.image_size >= 32, "at least 32")
        _demand(self, "batch_slices", self.batch_slices >= 4, "at least 4, a group of every relation")
        _demand(self, "epochs", self.epochs >= 1, "at least 1")
        _demand(self, "learning_rate", self.learning_rate > 0, "above 0")
        _demand(self, "temperature", self.temperature > 0, "above 0")
        weights = (self.weight_nt_xent, self.weight_patient, self.weight_volume, self.weight_slice)
        _demand(self, "weight_nt_xent", any(weights), "above 0 when all other weights are 0")
        mates_known = set(self.mates.split(",")) <= {"", "slice", "volume", "patient"}
        _demand(self, "mates", mates_known, "some of slice, volume and patient, comma-separated")
        _demand(self, "anchors", self.anchors in {"both", "first"}, "both or first")
        negatives_known = self.nt_xent_negatives in {"all", "other-patients"}
        _demand(self, "nt_xent_negatives", negatives_known, "all or other-patients")
        _demand(self, "start", self.start in {"imagenet", "scratch"}, "imagenet or scratch")
        _demand(self, "precision", self.precision in {"auto", "float32"}, "auto or float32")
        _demand(self, "resize", self.resize in {"nearest", "area"}, "nearest or area")


WEIGHTS: dict[str, dict[str, Any]] = {
    name: dict(zip(("weight_nt_xent", "weight_patient", "weight_volume", "weight_slice"), weights, strict=True))
    for name, weights in (
        ("acdc", (1.0, 0.05, 0.35, 0.0)),
        ("one-volume", (1.0, 0.0, 0.35, 0.0)),  # CHAOS, MS-CMR, DAVIS: a patient has one volume, so one of the two
        ("pretrained", (0.0, 1.0, 0.0, 0.0)),  # before a segmentation network with pretrained weights, any data set
        ("nt-xent", (1.0, 0.0, 0.0, 0.0)),  # no groups: SimCLR, row 1 of Table 4, and what TypiClust is run on
    )
}
"""Named weights of the encoder's loss (Vepa et al., NeurIPS 2024, App. A): `{"encoder": {"weights": "one-volume"}}`."""

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "poly_power": 0.9,
        "iterations_per_fraction": 60000.0,
        "iterations_min": 1,
        "iterations_max": 60000,
        "resize": "nearest",
        "pseudo_weight": 0.5,
        "pseudo_labels": "hard",
        "pseudo_ramp": 0.0,
        "shut_out_background": False,
        "augmentation": "published",
        "ema_decay": 0.0,
    },
    "modern": {
        "optimizer": "adamw",
        "learning_rate": 5e-3,
        "momentum": 0.9,
        "weight_decay": 1e-2,
        "poly_power": 0.9,
        "resize": "area",
        "pseudo_weight": 1.0,
        "pseudo_labels": "hard",  # soft ones (DMSPS) with a ramp are a field away; see docs/lab-log.md
        "pseudo_ramp": 0.0,
        "shut_out_background": True,
        "augmentation": "strong",
        "ema_decay": 0.98,
    },
}
"""What a recipe of segmentation training sets. Size, batch and validations are the preset's in both; so are the steps
of `modern`, while those of `paper` are as published, in proportion to the budget."""


@dataclass(frozen=True)
class SegmentationProtocol:
    """How a segmentation member is trained; defaults as published (al-seg's DMPLS and UNet runs)."""

    recipe: str = "paper"  # or "modern"; it set the fields of RECIPES when the protocol was made
    network: str = "unet"  # or "resnet50-unet"; scribbles give either a second decoder
    start: str = "imagenet"  # of the ResNet-50: or "lvm-med" (a local file), or "scratch"
    image_size: int = 256  # pixels, square, a multiple of 16, of the ResNet-50 of 32
    iterations_per_fraction: float = 60000.0  # iterations = this × the share of the train slices that is labelled
    iterations_min: int = 1
    iterations_max: int = 60000
    batch_size: int = 6
    optimizer: str = "sgd"  # or "adamw"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    poly_power: float = 0.9
    pseudo_weight: float = 0.5  # of the pseudo labels' term; scribbles only
    pseudo_labels: str = "hard"  # or "soft"
    pseudo_ramp: float = 0.0  # share of the iterations over which pseudo_weight rises
    shut_out_background: bool = False  # what a closed background scribble shuts out is background
    augmentation: str = "published"  # or "strong"
    ema_decay: float = 0.0  # of the averaged weights that validate and predict; 0 = the trained ones
    validate_every: int = 200  # iterations
    resize: str = "nearest"  # or "area", for inputs far below the native size
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what would fail only when a worker begins."""
        _demand(self, "network", self.network in {"unet", "resnet50-unet"}, "unet or resnet50-unet")
        _demand(self, "start", self.start in {"imagenet", "lvm-med", "scratch"}, "imagenet, lvm-med or scratch")
        halved = 16 if self.network == "unet" else 32
        size_fits = self.image_size >= 32 and self.image_size % halved == 0
        _demand(self, "image_size", size_fits, f"a multiple of {halved}, at least 32")
        _demand(self, "iterations_min", self.iterations_min >= 1, "at least 1")
        _demand(self, "iterations_max", self.iterations_max >= self.iterations_min, "at least iterations_min")
        _demand(self, "batch_size", self.batch_size >= 1, "at least 1")
        _demand(self, "validate_every", self.validate_every >= 1, "at least 1")
        _demand(self, "learning_rate", self.learning_rate > 0, "above 0")
        _demand(self, "momentum", self.momentum < 1, "below 1")
        _demand(self, "recipe", self.recipe in RECIPES, " or ".join(RECIPES))
        _demand(self, "optimizer", self.optimizer in {"sgd", "adamw"}, "sgd or adamw")
        _demand(self, "pseudo_labels", self.pseudo_labels in {"hard", "soft"}, "hard or soft")
        _demand(self, "pseudo_ramp", self.pseudo_ramp <= 1, "at most 1")
        _demand(self, "augmentation", self.augmentation in {"published", "strong"}, "published or strong")
        _demand(self, "ema_decay", self.ema_decay < 1, "below 1")
        _demand(self, "precision", self.precision in {"auto", "float32"}, "auto or float32")
        _demand(self, "resize", self.resize in {"nearest", "area"}, "nearest or area")

    def iterations_for(self, fraction: float) -> int:
        """Iterations of one member when `fraction` (0-1] of the train slices is labelled, rounded down."""
        wanted = int(self.iterations_per_fraction * fraction + 1e-6)  # 60,000 times 0.164 is a hair below 9,840
        return max(self.iterations_min, min(self.iterations_max, wanted))


@dataclass(frozen=True)
class Protocol:
    """Everything that must be equal between strategies that are compared."""

    preset: str
    members: int = 5
    encoder: EncoderProtocol = field(default_factory=EncoderProtocol)
    segmentation: SegmentationProtocol = field(default_factory=SegmentationProtocol)

    def __post_init__(self) -> None:
        """Refuse an ensemble of nobody, or of more than anybody waits for."""
        _demand(self, "members", 1 <= self.members <= 100, "between 1 and 100")

    def as_json(self) -> dict[str, Any]:
        """The protocol as plain JSON values."""
        return dataclasses.asdict(self)


Record = TypeVar("Record")

PRESETS: dict[str, Protocol] = {
    "paper": Protocol(preset="paper"),
    # Sized for two cores: see docs/lab-log.md for what an encoder and a member take.
    "cpu": Protocol(
        preset="cpu",
        members=2,
        encoder=EncoderProtocol(image_size=64, batch_slices=18, epochs=8, resize="area"),
        segmentation=SegmentationProtocol(
            image_size=64,
            iterations_per_fraction=0.0,
            iterations_min=800,
            iterations_max=800,
            validate_every=200,
            recipe="modern",  # docs/adr/0007
            **RECIPES["modern"],
        ),
    ),
    "tiny": Protocol(
        preset="tiny",
        members=1,
        encoder=EncoderProtocol(image_size=32, epochs=1),
        segmentation=SegmentationProtocol(  # the recipe `paper` in few steps, and by an optimizer that learns in so few
            image_size=32,
            iterations_per_fraction=0.0,
            iterations_min=30,
            iterations_max=30,
            optimizer="adamw",
            learning_rate=2e-3,
            validate_every=15,
        ),
    ),
}


def resolve_protocol(preset: str, overrides: dict[str, Any] | None = None, encoder_weights: str = "") -> Protocol:
    """The preset's protocol with some fields replaced, e.g. `{"members": 3, "encoder": {"epochs": 2}}`.

    `encoder_weights` is the word of WEIGHTS that a strategy wants; what is replaced by name wins over it. Raises
    ProtocolRefused for an unknown preset or field, and for a value of another type than the field's.
    """
    if preset not in PRESETS:
        raise ProtocolRefused(f"preset {preset!r} is unknown; there are {', '.join(sorted(PRESETS))}")
    fields = overrides or {}
    encoder = fields.get("encoder", {})
    if encoder_weights and isinstance(encoder, dict):
        fields = fields | {"encoder": {"weights": encoder_weights} | encoder}
    return _replace(PRESETS[preset], fields, path="protocol")


def load_protocol(stored: dict[str, Any]) -> Protocol:
    """The protocol that a project was made with, from its stored JSON."""
    base = Protocol(preset=str(stored["preset"]))
    return _replace(base, {key: value for key, value in stored.items() if key != "preset"}, path="protocol")


def _replace(record: Record, overrides: dict[str, Any], path: str) -> Record:
    fields: Any = record  # one of the three dataclasses above
    known = {each.name for each in dataclasses.fields(fields)} - {"preset"}
    changes: dict[str, Any] = {}
    recipe = overrides.get("recipe")
    if isinstance(record, SegmentationProtocol) and isinstance(recipe, str) and recipe in RECIPES:
        overrides = RECIPES[recipe] | overrides  # a field that is named wins over the recipe's
    if isinstance(record, EncoderProtocol) and "weights" in overrides:
        overrides = _expand_weights(overrides, path)
    for name, value in overrides.items():
        if name not in known:
            raise ProtocolRefused(f"{path} has no field {name!r}; it has {', '.join(sorted(known))}")
        current = getattr(record, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise ProtocolRefused(f"{path}.{name} must be an object")
            changes[name] = _replace(current, value, f"{path}.{name}")
        else:
            changes[name] = _checked(current, value, f"{path}.{name}")
    changed: Record = dataclasses.replace(fields, **changes)
    return changed


def _expand_weights(overrides: dict[str, Any], path: str) -> dict[str, Any]:
    """The overrides with the weights that a word of WEIGHTS stands for; one that is named by itself wins."""
    rest = {name: value for name, value in overrides.items() if name != "weights"}
    word = overrides["weights"]
    if not isinstance(word, str) or word not in WEIGHTS:
        raise ProtocolRefused(f"{path}.weights must be one of {', '.join(WEIGHTS)}, not {word!r}")
    return WEIGHTS[word] | rest


def _checked(current: object, value: object, path: str) -> object:
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(current):
        raise ProtocolRefused(f"{path} must be of type {type(current).__name__}, not {type(value).__name__}")
    if isinstance(value, int | float) and not 0 <= value < math.inf:
        raise ProtocolRefused(f"{path} must be a number from 0 on, not {value}")
    return value
