"""Random rotations and flips of annotated slices, batched on their device.

Each slice is, with probability 1/2, turned by a multiple of 90 degrees and then flipped along one axis; with 1/4,
turned by a whole number of degrees in [-20, 19]; with 1/4, left alone (the scheme of WSL4MIS). All three are one gather
from a nearest-neighbour grid, so image and label move together and the device is never waited for.
"""

import torch
from torch import Tensor

from worker.learning.shapes import UNLABELLED


def augment_slices(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give images (B, C, S, S) and labels (B, S, S) after one random move each, of the types they had.

    `generator` must live on the images' device. Where a small rotation looks beyond the edge, images become 0 and
    labels 255 if that slice has unlabelled pixels (a scribble), else 0 (a mask).
    """
    matrices = draw_moves(len(images), generator)
    return move_slices(images, labels, matrices)


def draw_moves(count: int, generator: torch.Generator) -> Tensor:
    """Give `count` random matrices (B, 2, 2) that carry centred output (row, column) to centred input ones."""
    device = generator.device
    gates = torch.rand(count, 2, generator=generator, device=device)
    flipped = draw_square_moves(count, generator)
    degrees = torch.randint(-20, 20, (count,), generator=generator, device=device)
    angles = degrees.float().deg2rad()
    small = rotations(angles.cos(), angles.sin())
    still = torch.eye(2, device=device).expand(count, 2, 2)
    first = (gates[:, 0] > 0.5).view(-1, 1, 1)
    second = (gates[:, 1] > 0.5).view(-1, 1, 1)
    return torch.where(first, flipped, torch.where(second, small, still))


def draw_square_moves(count: int, generator: torch.Generator) -> Tensor:
    """Give matrices (B, 2, 2) of a turn by a random multiple of 90 degrees, then a flip along a random axis."""
    turns = torch.randint(0, 4, (count,), generator=generator, device=generator.device)
    axes = torch.randint(0, 2, (count,), generator=generator, device=generator.device)
    square = rotations(_exact_cosines(turns), _exact_cosines(turns - 1))
    signs = torch.stack([1 - 2 * (axes == 0).float(), 1 - 2 * (axes == 1).float()], dim=1)
    return square * signs.unsqueeze(1)


def move_slices(images: Tensor, labels: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Give images (B, C, S, S) and labels (B, S, S) read at the positions that matrices (B, 2, 2) name."""
    size = images.shape[-1]
    axis = torch.arange(size, device=images.device) - (size - 1) / 2
    centred = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)  # (2, S * S)
    sources = (matrices @ centred + (size - 1) / 2 + 0.5).floor().long()  # (B, 2, S * S)
    inside = ((sources >= 0) & (sources < size)).all(dim=1)  # (B, S * S)
    rows, columns = sources.clamp(0, size - 1).unbind(dim=1)
    flat = rows * size + columns
    moved = images.flatten(2).gather(2, flat.unsqueeze(1).expand(-1, images.shape[1], -1))
    moved = moved * inside.unsqueeze(1)
    partly = (labels == UNLABELLED).flatten(1).any(dim=1, keepdim=True)
    outside = partly.to(labels.dtype) * UNLABELLED
    moved_labels = torch.where(inside, labels.flatten(1).gather(1, flat), outside)
    return moved.view_as(images), moved_labels.view_as(labels)


def rotations(cosines: Tensor, sines: Tensor) -> Tensor:
    """Give the rotation matrices (B, 2, 2) of given cosines and sines (B,)."""
    return torch.stack([torch.stack([cosines, sines], dim=1), torch.stack([-sines, cosines], dim=1)], dim=1)


def _exact_cosines(turns: Tensor) -> Tensor:
    """Give the cosine of `turns` quarter turns as exactly -1, 0 or 1, so that square moves lose no pixel."""
    return (turns % 4 == 0).float() - (turns % 4 == 2).float()
