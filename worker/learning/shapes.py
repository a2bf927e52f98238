"""The records that carry slices and volumes through the learning core."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.learning.errors import PoolStructureError, ShapeError

UNLABELLED = 255  # a pixel nobody has labelled, everywhere

Progress = Callable[[int, int, str], None]  # (done, total, message); may raise to stop the work


def ignore_progress(done: int, total: int, message: str) -> None:
    """Tell nobody."""


Spacing = tuple[float, float, float]  # millimetres along (z, y, x)
LabelArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SlicePool:
    """N slices of the training patients, un-augmented; raises ShapeError or PoolStructureError when parts disagree."""

    images: Tensor  # (N, C, S, S) float32 in [0, 1] or uint8 in [0, 255]; C is 1 or 3
    patient_ids: Tensor  # (N,) int64, codes
    volume_ids: Tensor  # (N,) int64, codes
    z: Tensor  # (N,) int64, true slice index inside the volume

    def __post_init__(self) -> None:
        refuse_bad_images(self.images)
        for name in ("patient_ids", "volume_ids", "z"):
            column: Tensor = getattr(self, name)
            if column.shape != self.images.shape[:1]:
                raise ShapeError(f"pool's {name}", f"({len(self.images)},)", column.shape)
            if column.is_floating_point():
                raise PoolStructureError(f"{name} must be whole numbers, not {column.dtype}")


@dataclass(frozen=True)
class LabelledSlices:
    """The n annotated slices that a segmentation training sees; raises ShapeError when images and labels disagree."""

    images: Tensor  # (n, C, S, S) float32 in [0, 1] or uint8 in [0, 255]; C is 1 or 3
    labels: Tensor  # (n, S, S) uint8, 255 = unlabelled

    def __post_init__(self) -> None:
        refuse_bad_images(self.images)
        count, _, height, width = self.images.shape
        if self.labels.shape != (count, height, width) or self.labels.dtype != torch.uint8:
            raise ShapeError("labels (uint8)", f"({count}, {height}, {width})", self.labels.shape)


@dataclass(frozen=True)
class ReferenceVolume:
    """A validation or test volume; raises ShapeError when images and reference disagree in depth."""

    images: Tensor  # (Z, C, S, S) float32 in [0, 1] or uint8 in [0, 255]
    reference: LabelArray  # (Z, H, W) in native geometry, 255 = unlabelled
    spacing: Spacing | None  # None: unknown, so that distances are in voxels

    def __post_init__(self) -> None:
        refuse_bad_images(self.images)
        if self.reference.ndim != 3 or len(self.reference) != len(self.images):
            raise ShapeError("reference", f"({len(self.images)}, H, W)", self.reference.shape)
        if self.reference.dtype != np.uint8:
            raise ShapeError(f"reference of type {self.reference.dtype}", "uint8 (Z, H, W)", self.reference.shape)


def as_unit_floats(images: Tensor) -> Tensor:
    """Give images as float32 in [0, 1]: uint8 is divided by 255, floats are taken as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def refuse_bad_images(images: Tensor) -> None:
    """Raise ShapeError unless images are (n, C, S, S) with C 1 or 3."""
    if images.ndim != 4 or images.shape[1] not in {1, 3} or images.shape[2] != images.shape[3]:
        raise ShapeError("images", "(n, 1 or 3, S, S)", images.shape)
