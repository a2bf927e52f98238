"""The stronger moves and intensities of the `modern` recipe."""

import math

import pytest
import torch

from worker.learning import augment_strong
from worker.learning.augment_strong import augment_strongly, change_intensities, draw_affine_maps, sample_slices


def loop_sample(image: torch.Tensor, label: torch.Tensor, matrix: torch.Tensor, offset: torch.Tensor) -> tuple:
    """One slice (S, S), pixel by pixel: bilinear with zeros beyond the edge, and nearest with 255 beyond it."""
    size = len(image)
    moved, moved_label = torch.zeros(size, size), torch.full((size, size), 255, dtype=torch.uint8)
    for row in range(size):
        for column in range(size):
            centred = torch.tensor([(2 * row + 1) / size - 1, (2 * column + 1) / size - 1])
            y, x = ((value.item() + 1) * size / 2 for value in matrix @ centred + offset)
            if 0 <= math.floor(y) < size and 0 <= math.floor(x) < size:
                moved_label[row, column] = label[math.floor(y), math.floor(x)]
            y, x = y - 0.5, x - 0.5
            for near_y in (math.floor(y), math.floor(y) + 1):
                for near_x in (math.floor(x), math.floor(x) + 1):
                    if 0 <= near_y < size and 0 <= near_x < size:
                        weight = (1 - abs(y - near_y)) * (1 - abs(x - near_x))
                        moved[row, column] += weight * image[near_y, near_x]
    return moved, moved_label


def test_sampling_equals_its_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 9, 9, generator=generator)
    labels = torch.randint(0, 4, (6, 9, 9), generator=generator).to(torch.uint8)
    matrices, offsets = draw_affine_maps(6, generator)
    moved, moved_labels = sample_slices(images, labels, matrices, offsets)
    for image, label, matrix, offset, found, found_label in zip(
        images[:, 0], labels, matrices, offsets, moved[:, 0], moved_labels, strict=True
    ):
        expected, expected_label = loop_sample(image, label, matrix, offset)
        assert torch.allclose(found, expected, atol=1e-5)
        assert (found_label != expected_label).float().mean() < 0.02  # float32 may fall on either side of a border


def test_image_and_label_move_together() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros(40, 64, 64, dtype=torch.uint8)
    labels[:, 20:44, 24:40] = 1
    moved, moved_labels = sample_slices(labels.float().unsqueeze(1), labels, *draw_affine_maps(40, generator))
    inside = moved_labels != 255
    agree = (moved[:, 0] > 0.5) == (moved_labels == 1)
    assert agree[inside].float().mean() > 0.99
    assert 0.6 < inside.float().mean() < 1


def test_maps_stay_in_their_ranges_and_turn_square_in_half_of_the_cases() -> None:
    matrices, offsets = draw_affine_maps(4000, torch.Generator().manual_seed(2))
    determinants = torch.linalg.det(matrices)
    low, high = 1 / augment_strong.SCALE[1] ** 2, 1 / augment_strong.SCALE[0] ** 2
    assert determinants.abs().min() >= low - 1e-4
    assert determinants.abs().max() <= high + 1e-4
    assert (determinants < 0).float().mean().item() == pytest.approx(0.5, abs=0.03), "a square move flips once"
    assert offsets.abs().max() <= 2 * augment_strong.SHIFT


def test_intensities_change_and_stay_in_range() -> None:
    images = torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    changed = change_intensities(images, torch.Generator().manual_seed(4))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert ((changed - images).abs().mean(dim=(1, 2, 3)) > 0.005).all()
    correlations = torch.stack(
        [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(images, changed, strict=True)]
    )
    assert correlations.min() > 0.8, "what was bright stays bright"


def test_same_generator_same_augmentation() -> None:
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    labels = torch.full((4, 16, 16), 255, dtype=torch.uint8)
    first, second, third = (augment_strongly(images, labels, torch.Generator().manual_seed(s))[0] for s in (6, 6, 7))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
