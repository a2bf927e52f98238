"""Small made-up volumes: a bright disc with a darker ring round it, drawn anew on every slice."""

import numpy as np
import torch

from worker.learning.intensity import resize_nearest
from worker.learning.shapes import LabelledSlices, ReferenceVolume


def draw_discs(count: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (count, 1, size, size) in [0, 1] and labels (count, size, size): 0 outside, 1 ring, 2 disc."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images, labels = [], []
    for _ in range(count):
        centre, radius = generator.uniform(0.4, 0.6, 2) * size, generator.uniform(0.15, 0.22) * size
        distance = np.hypot(rows - centre[0], columns - centre[1])
        label = np.where(distance < radius, 2, np.where(distance < 1.7 * radius, 1, 0)).astype(np.uint8)
        image = np.array([0.2, 0.5, 0.9])[label] + generator.normal(0, 0.05, label.shape)
        images.append(np.clip(image, 0, 1).astype(np.float32))
        labels.append(label)
    return torch.from_numpy(np.stack(images)).unsqueeze(1), torch.from_numpy(np.stack(labels))


def labelled_discs(count: int, size: int, seed: int, kept: float = 1.0) -> LabelledSlices:
    """Annotated slices of which the share `kept` of pixels is labelled, at random."""
    images, labels = draw_discs(count, size, seed)
    hidden = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) >= kept
    return LabelledSlices(images, labels.masked_fill(hidden, 255))


def disc_volume(depth: int, size: int, seed: int, native: tuple[int, int]) -> ReferenceVolume:
    """A reference volume whose labels have the native plane size."""
    images, labels = draw_discs(depth, size, seed)
    return ReferenceVolume(images, resize_nearest(labels.numpy(), native), (5.0, 1.0, 1.0))
