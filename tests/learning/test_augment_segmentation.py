"""Rotations and flips of annotated slices."""

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from worker.learning.augment_segmentation import augment_slices, draw_moves, move_slices


def slices(count: int, size: int = 20, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose every pixel holds its label too, so that both must move together."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, 200, (count, size, size), generator=generator).to(torch.uint8)
    return labels.float().unsqueeze(1).repeat(1, channels, 1, 1), labels


def test_image_and_label_move_together() -> None:
    images, labels = slices(64, channels=3)
    moved, moved_labels = augment_slices(images, labels, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved, moved_labels.float().unsqueeze(1).expand(-1, 3, -1, -1))


def test_each_slice_is_turned_and_flipped_or_rotated_or_left_in_the_published_shares() -> None:
    matrices = draw_moves(4000, torch.Generator().manual_seed(1))
    still = (matrices == torch.eye(2)).all(dim=(1, 2))
    square = ((matrices == 0) | (matrices.abs() == 1)).all(dim=(1, 2))
    flipped = square & (torch.linalg.det(matrices) < 0)
    angles = torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]).rad2deg()
    small = ~square
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert still.float().mean().item() == pytest.approx(0.25 + 0.25 / 40, abs=0.03)
    assert torch.equal(square, flipped | still)
    assert angles[small].min().round() == -20
    assert angles[small].max().round() == 19


def test_square_moves_lose_no_pixel_and_reach_all_four_reflections() -> None:
    images, labels = slices(1)
    reflections = {tuple(map(tuple, np.flip(np.rot90(labels[0].numpy(), k), axis=0).tolist())) for k in range(4)}
    matrices = draw_moves(200, torch.Generator().manual_seed(2))
    flips = matrices[torch.linalg.det(matrices) < 0]
    _, moved = move_slices(images.expand(len(flips), -1, -1, -1), labels.expand(len(flips), -1, -1), flips)
    assert {tuple(map(tuple, each.tolist())) for each in moved} == reflections


@pytest.mark.parametrize("degrees", [-20, -7, 5, 19])
def test_small_rotation_is_that_of_scipy(degrees: int) -> None:
    images, labels = slices(1, size=64)
    angle = torch.tensor(float(degrees)).deg2rad()
    matrix = torch.tensor([[angle.cos(), angle.sin()], [-angle.sin(), angle.cos()]]).unsqueeze(0)
    _, moved = move_slices(images, labels, matrix)
    expected = rotate(labels[0].numpy(), degrees, order=0, reshape=False)
    opposite = rotate(labels[0].numpy(), -degrees, order=0, reshape=False)
    agreement = max((moved[0].numpy() == other).mean() for other in (expected, opposite))
    assert agreement > 0.97  # single precision here: ties fall differently


@pytest.mark.parametrize(("scribbled", "fill"), [(True, 255), (False, 0)])
def test_what_comes_from_beyond_the_edge_is_unlabelled_for_scribbles_and_background_for_masks(
    scribbled: bool, fill: int
) -> None:
    labels = torch.full((1, 32, 32), 3, dtype=torch.uint8)
    if scribbled:
        labels[0, 16, 16] = 255
    angle = torch.tensor(15.0).deg2rad()
    matrix = torch.tensor([[angle.cos(), angle.sin()], [-angle.sin(), angle.cos()]]).unsqueeze(0)
    images, moved = move_slices(torch.ones(1, 1, 32, 32), labels, matrix)
    assert moved[0, 0, 0] == fill
    assert images[0, 0, 0, 0] == 0


def test_bytes_stay_bytes() -> None:
    images, labels = slices(8)
    moved, moved_labels = augment_slices(images.to(torch.uint8), labels, torch.Generator().manual_seed(0))
    assert moved.dtype == moved_labels.dtype == torch.uint8


def test_same_generator_same_moves() -> None:
    images, labels = slices(16)
    first, second, third = (augment_slices(images, labels, torch.Generator().manual_seed(s))[0] for s in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
