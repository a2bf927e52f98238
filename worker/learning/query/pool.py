"""What a selection rule may see of a round, and what it answers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.learning.errors import (
    BudgetError,
    ConfigError,
    NonFiniteError,
    NothingToPickError,
    PoolStructureError,
    ReaderMissingError,
    ShapeError,
    UnrevealedLabelError,
)
from worker.learning.shapes import Progress, ignore_progress

CPU = torch.device("cpu")
Features = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Reader = Callable[[], npt.NDArray[np.generic]]

MapScore = Callable[[Iterable[Tensor]], Tensor]
"""Reduces the (B, C, S, S) probabilities that members, or dropout passes, give the same B slices to (B, ...) numbers.

It gets one member's maps after the other and is called batch by batch, on the device, so nothing larger is ever kept.
"""


class ProbabilityReader(Protocol):
    """What trained members say about un-augmented slices of the pool, already reduced by a score."""

    def score_by_members(self, score: MapScore, indices: Indices) -> npt.NDArray[np.float32]:
        """Give (n, ...) scores of the n slices at `indices`, each over the maps of all members."""

    def score_by_dropout(self, score: MapScore, indices: Indices, passes: int, seed: int) -> npt.NDArray[np.float32]:
        """Give (M, n, ...) scores, each over the maps of `passes` passes of one member with its dropout on."""


@dataclass(frozen=True)
class Cover:
    """For each of N slices the squared distance to its nearest centre, kept from round to round."""

    fingerprint: str  # of the features that were measured, to the last bit: distances of others are of no use
    squared: Features  # (N,) infinite while there is no centre
    nearest: Indices  # (N,) pool index of that centre, the lowest of equals, -1 while there is none
    centres: Flags  # (N,) the centres seen so far

    @classmethod
    def of_nothing(cls, fingerprint: str, size: int) -> "Cover":
        """Give the cover of `size` slices while there is no centre."""
        squared = np.full(size, np.inf, dtype=np.float32)
        return cls(fingerprint, squared, np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=np.bool_))


@dataclass(frozen=True)
class Picks:
    """The slices a rule chose, in the order in which it chose them."""

    indices: tuple[int, ...]
    values: tuple[float, ...]  # the value that chose each; 0 for a first centre that was drawn
    nearest: tuple[int | None, ...]  # the nearest centre when it was picked; None where the rule knows no centre
    cover_radius: float | None  # largest distance of any slice to its nearest centre after the picks
    note: str | None = None  # why the rule chose otherwise than its name says, for the person who asks
    cover: Cover | None = field(default=None, compare=False, repr=False)  # after the picks, for the next round to go on


@dataclass(frozen=True)
class QueryPool:
    """N slices of one round: their groups and positions, what is annotated, what may be picked.

    Pixels, features and probabilities come through readers, called only by rules that need them. Labels are those of
    annotated slices only; construction refuses any other (UnrevealedLabelError), so no rule can see an answer before
    it is given.
    """

    patient_ids: npt.NDArray[np.int64]  # (N,)
    volume_ids: npt.NDArray[np.int64]  # (N,)
    z: npt.NDArray[np.int64]  # (N,)
    annotated: Flags  # (N,) the centres
    available: Flags  # (N,) may be picked
    labels: Mapping[int, npt.NDArray[np.uint8]] = field(default_factory=dict)  # index -> (H, W), 255 = unlabelled
    feature_reader: Reader | None = None
    pixel_reader: Reader | None = None
    imagenet_reader: Reader | None = None
    task_reader: Reader | None = None
    probability_reader: ProbabilityReader | None = None
    carried: Cover | None = None  # of the newest earlier round that left one
    model_missing: bool = False  # no member has been trained yet: rules that ask members draw at random
    device: torch.device = CPU  # where a rule that trains something does so
    on_progress: Progress = ignore_progress  # told while it trains; may raise to stop it
    progress: float = 0.0  # how far the schedule of budgets is: 0 at its first round, 1 at its last

    def __post_init__(self) -> None:
        """Refuse arrays that contradict each other (ShapeError, PoolStructureError, UnrevealedLabelError)."""
        for name in ("patient_ids", "volume_ids", "z", "annotated", "available"):
            if getattr(self, name).shape != (self.size,):
                raise ShapeError(f"{name} of the pool", f"({self.size},)", getattr(self, name).shape)
        both = np.flatnonzero(self.annotated & self.available)
        if len(both):
            raise PoolStructureError(f"slice {both[0]} is annotated and yet available")
        for index in self.labels:
            if not (0 <= index < self.size and self.annotated[index]):
                raise UnrevealedLabelError(index)

    @property
    def size(self) -> int:
        """N, the number of slices."""
        return len(self.patient_ids)

    def encoder_features(self) -> Features:
        """Give the (N, D) features of the contrastive encoder; raises ReaderMissingError or NonFiniteError."""
        return self._read_features(self.feature_reader, "encoder features")

    def imagenet_features(self) -> Features:
        """Give the (N, D) features of the same encoder as ImageNet left it; raises as `encoder_features`."""
        return self._read_features(self.imagenet_reader, "ImageNet features")

    def task_features(self) -> Features:
        """Give the (N, D) bottleneck features of the best member so far; raises as `encoder_features`."""
        return self._read_features(self.task_reader, "task features")

    def score_by_members(self, score: MapScore, indices: Indices) -> npt.NDArray[np.float32]:
        """Give (n, ...) scores of the n slices at `indices` over the members' maps (ReaderMissingError)."""
        return self._probabilities().score_by_members(score, indices)

    def score_by_dropout(self, score: MapScore, indices: Indices, passes: int, seed: int) -> npt.NDArray[np.float32]:
        """Give (M, n, ...) scores of n slices over dropout passes of each of M members (ReaderMissingError)."""
        return self._probabilities().score_by_dropout(score, indices, passes, seed)

    def pixels(self) -> npt.NDArray[np.generic]:
        """Give the (N, C, S, S) images as the reader has them; raises ReaderMissingError."""
        images = self._read(self.pixel_reader, "pixels")
        if images.ndim != 4:
            raise ShapeError("pixels", f"({self.size}, C, S, S)", images.shape)
        return images

    def label(self, index: int) -> npt.NDArray[np.uint8]:
        """Give the (H, W) labels of an annotated slice; raises UnrevealedLabelError for any other."""
        if index not in self.labels:
            raise UnrevealedLabelError(index)
        return self.labels[index]

    def _probabilities(self) -> ProbabilityReader:
        if self.probability_reader is None:
            raise ReaderMissingError("probabilities")
        return self.probability_reader

    def _read_features(self, reader: Reader | None, what: str) -> Features:
        features = np.asarray(self._read(reader, what), dtype=np.float32)
        if features.ndim != 2:
            raise ShapeError(what, f"({self.size}, D)", features.shape)
        refuse_non_finite(what, features)
        return features

    def _read(self, reader: Reader | None, need: str) -> npt.NDArray[np.generic]:
        if reader is None:
            raise ReaderMissingError(need)
        values = reader()
        if len(values) != self.size:
            raise ShapeError(need, f"({self.size}, ...)", values.shape)
        return values


def list_available(pool: QueryPool, budget: int) -> Indices:
    """Give the indices that may be picked, ascending; raises BudgetError and NothingToPickError."""
    if budget < 1:
        raise BudgetError(budget)
    available = np.flatnonzero(pool.available)
    if len(available) == 0:
        raise NothingToPickError(pool.size)
    return available


def refuse_non_finite(what: str, values: npt.NDArray[np.floating]) -> None:
    """Raise NonFiniteError naming the first index that is NaN or infinite."""
    finite = np.isfinite(values)
    if not finite.all():
        raise NonFiniteError(what, [int(place) for place in np.unravel_index(int(np.argmin(finite)), values.shape)])


def refuse_unknown_settings(config: Mapping[str, object], *known: str) -> None:
    """Raise ConfigError for a setting that the rule does not know: a misspelt one must not pass in silence."""
    for name in sorted(config.keys() - set(known)):
        allowed = f"one of {', '.join(known)}" if known else "absent: this strategy has no settings"
        raise ConfigError(name, config[name], allowed)


def read_count(config: Mapping[str, object], name: str, default: int) -> int:
    """Give a setting that is a whole number from 1 on; raises ConfigError."""
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(name, value, "a whole number from 1 on")
    return value


def read_number(config: Mapping[str, object], name: str, default: float, least: float, most: float) -> float:
    """Give a setting that is a number from `least` to `most`; raises ConfigError."""
    value = config.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(name, value, f"a number from {least:g} to {most:g}")
    return float(value)
