"""What a selection rule may see of a round, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worker.learning.errors import (
    ConfigError,
    NonFiniteError,
    PoolStructureError,
    ReaderMissingError,
    ShapeError,
    UnrevealedLabelError,
)

Features = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Reader = Callable[[], npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Picks:
    """The slices a rule chose, in the order in which it chose them."""

    indices: tuple[int, ...]
    values: tuple[float, ...]  # the value that chose each; 0 for a first centre that was drawn
    nearest: tuple[int | None, ...]  # the nearest centre when it was picked; None where the rule knows no centre
    cover_radius: float | None  # largest distance of any slice to its nearest centre after the picks


@dataclass(frozen=True)
class QueryPool:
    """N slices of one round: their groups and positions, what is annotated, what may be picked.

    Pixels and features come through readers, called only by rules that need them. Labels are those of annotated slices
    only; construction refuses any other (UnrevealedLabelError), so no rule can see an answer before it is given.
    """

    patient_ids: npt.NDArray[np.int64]  # (N,)
    volume_ids: npt.NDArray[np.int64]  # (N,)
    z: npt.NDArray[np.int64]  # (N,)
    annotated: Flags  # (N,) the centres
    available: Flags  # (N,) may be picked
    labels: Mapping[int, npt.NDArray[np.uint8]] = field(default_factory=dict)  # index -> (H, W), 255 = unlabelled
    feature_reader: Reader | None = None
    pixel_reader: Reader | None = None

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
        features = np.asarray(self._read(self.feature_reader, "encoder features"), dtype=np.float32)
        if features.ndim != 2:
            raise ShapeError("encoder features", f"({self.size}, D)", features.shape)
        refuse_non_finite("encoder features", features)
        return features

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

    def _read(self, reader: Reader | None, need: str) -> npt.NDArray[np.generic]:
        if reader is None:
            raise ReaderMissingError(need)
        values = reader()
        if len(values) != self.size:
            raise ShapeError(need, f"({self.size}, ...)", values.shape)
        return values


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
