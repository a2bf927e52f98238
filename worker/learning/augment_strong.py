"""Stronger random moves and intensities of annotated slices, batched on their device: the `modern` recipe's.

Each slice is turned and flipped as published in half of the cases, and always rotated, scaled, stretched and shifted a
little, in one sampling: bilinear for the image, nearest for its label. Then its intensities change: gamma, contrast,
brightness and noise, each with its own strength. All numbers are drawn from the generator on the device, so a step
never waits for the host.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from worker.learning.augment_segmentation import draw_square_moves, rotations
from worker.learning.shapes import UNLABELLED

ROTATION_DEGREES = 30.0  # either way
SCALE = (0.75, 1.33)  # drawn evenly in its logarithm
STRETCH = 1.15  # of one axis against the other, at most, either way
SHIFT = 0.1  # part of the side, either way
GAMMA = (0.6, 1.7)  # drawn evenly in its logarithm
CONTRAST = (0.75, 1.3)  # about the slice's mean
BRIGHTNESS = 0.1  # either way
NOISE = 0.08  # largest standard deviation, in the unit of intensities in [0, 1]


def augment_strongly(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give images (B, C, S, S) float32 in [0, 1] and labels (B, S, S) after one random move and change of each.

    `images` are float32 in [0, 1]; `generator` must live on their device. What comes from beyond the edge becomes 0 in
    images and 255 in labels: nobody has said what is there.
    """
    matrices, offsets = draw_affine_maps(len(images), generator)
    moved, moved_labels = sample_slices(images, labels, matrices, offsets)
    return change_intensities(moved, generator), moved_labels


def draw_affine_maps(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give matrices (B, 2, 2) and offsets (B, 2) that carry output (row, column) to input ones, 1 = half a side."""
    device = generator.device
    gates = torch.rand(count, generator=generator, device=device)
    square = torch.where((gates > 0.5).view(-1, 1, 1), draw_square_moves(count, generator), torch.eye(2, device=device))
    angles = _uniform((count,), (-ROTATION_DEGREES, ROTATION_DEGREES), generator).deg2rad()
    scale = _uniform((count, 1), (math.log(SCALE[0]), math.log(SCALE[1])), generator).exp()
    stretch = _uniform((count,), (-math.log(STRETCH) / 2, math.log(STRETCH) / 2), generator).exp()
    sizes = scale * torch.stack([stretch, 1 / stretch], dim=1)  # (B, 2)
    offsets = _uniform((count, 2), (-2 * SHIFT, 2 * SHIFT), generator)
    return square @ (rotations(angles.cos(), angles.sin()) / sizes.unsqueeze(1)), offsets


def sample_slices(images: Tensor, labels: Tensor, matrices: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Give images and labels read at the places that `draw_affine_maps` names: bilinear, and nearest for labels."""
    size = images.shape[-1]
    axis = (torch.arange(size, device=images.device) * 2 + 1) / size - 1
    centred = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)  # (2, S * S)
    sources = matrices @ centred + offsets.unsqueeze(2)  # (B, 2, S * S)
    grid = sources.flip(1).mT.reshape(len(images), size, size, 2)  # (x, y)
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    cells = ((sources + 1) * size / 2).floor().long()
    inside = ((cells >= 0) & (cells < size)).all(dim=1)  # (B, S * S)
    rows, columns = cells.clamp(0, size - 1).unbind(dim=1)
    read = labels.flatten(1).gather(1, rows * size + columns)
    return moved, torch.where(inside, read, torch.full_like(read, UNLABELLED)).view_as(labels)


def change_intensities(images: Tensor, generator: torch.Generator) -> Tensor:
    """Give images (B, C, S, S) in [0, 1] with a random gamma, contrast, brightness and noise of each slice."""
    each = (len(images), 1, 1, 1)
    gamma = _uniform(each, (math.log(GAMMA[0]), math.log(GAMMA[1])), generator).exp()
    contrast = _uniform(each, CONTRAST, generator)
    brightness = _uniform(each, (-BRIGHTNESS, BRIGHTNESS), generator)
    deviation = _uniform(each, (0.0, NOISE), generator)
    curved = images.clamp(0, 1) ** gamma
    means = curved.mean(dim=(1, 2, 3), keepdim=True)
    noise = torch.randn(images.shape, generator=generator, device=generator.device) * deviation
    return ((curved - means) * contrast + means + brightness + noise).clamp(0, 1)


def _uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = limits
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low
