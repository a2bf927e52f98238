"""Random views: ranges, independence, and the parts that have an exact answer."""

import pytest
import torch

from tests.oracles import gaussian_blur_by_loops
from worker.learning import augment
from worker.learning.augment import contrastive_views
from worker.learning.errors import ShapeError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 33), (1, 5)])
def test_two_views_of_each_slice_within_the_range_of_the_slices(channels, size):
    images = torch.rand(4, channels, size, size, generator=generator())
    views = contrastive_views(images, generator(1))
    assert views.shape == (8, channels, size, size)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= images.max() + 1e-5
    assert not torch.equal(views[:4], views[4:])


def test_views_repeat_with_the_generator_and_the_slices_are_left_alone():
    images = torch.rand(3, 1, 32, 32, generator=generator())
    before = images.clone()
    assert torch.equal(contrastive_views(images, generator(2)), contrastive_views(images, generator(2)))
    assert not torch.equal(contrastive_views(images, generator(2)), contrastive_views(images, generator(3)))
    assert torch.equal(images, before)


def test_bytes_are_read_as_parts_of_255():
    images = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8, generator=generator())
    assert torch.equal(contrastive_views(images, generator(1)), contrastive_views(images.float() / 255, generator(1)))


def test_channels_move_together():
    grey = torch.rand(3, 1, 32, 32, generator=generator()).repeat(1, 3, 1, 1)
    views = contrastive_views(grey, generator(1))
    assert torch.equal(views[:, 0], views[:, 1])
    assert torch.equal(views[:, 0], views[:, 2])


def test_blur_equals_its_twin():
    images = torch.rand(1, 1, 7, 7, generator=generator())
    low, high = augment.BLUR_SIGMA
    sigma = torch.rand((1, 1), generator=generator(4)).item() * (high - low) + low
    expected = torch.tensor([[gaussian_blur_by_loops(images[0, 0].tolist(), sigma)]])
    assert torch.allclose(augment._blur(images, generator(4)), expected, atol=1e-5)


def test_erasing_hits_a_fifth_of_the_views_with_rectangles_of_the_wanted_area():
    erased = augment._erase(torch.ones(4000, 1, 32, 32), generator()) == 0
    area = erased.float().mean(dim=(1, 2, 3))
    hit = area > 0
    assert hit.float().mean().item() == pytest.approx(augment.ERASE_PROBABILITY, abs=0.03)
    assert area[hit].max() < augment.ERASE_AREA[1] + 0.06
    assert area[hit].mean().item() == pytest.approx(sum(augment.ERASE_AREA) / 2, abs=0.02)
    rows, columns = erased[:, 0].any(dim=2).sum(dim=1), erased[:, 0].any(dim=1).sum(dim=1)
    assert torch.equal(rows * columns, erased.sum(dim=(1, 2, 3)))  # a full rectangle each


def test_crop_rectangles_fit_and_keep_area_and_ratio():
    width, height = augment._rectangles(5000, augment.CROP_AREA, augment.CROP_RATIO, generator())
    assert width.max() <= 1
    assert height.max() <= 1
    area, ratio = width * height, width / height
    low, high = augment.CROP_AREA
    assert low - 1e-4 <= area.min()
    assert area.max() <= high + 1e-4
    assert augment.CROP_RATIO[0] - 1e-4 <= ratio.min()
    assert ratio.max() <= augment.CROP_RATIO[1] + 1e-4


def test_without_random_ranges_the_warp_changes_nothing(monkeypatch):
    for name, still in {
        "CROP_AREA": (1, 1), "CROP_RATIO": (1, 1), "FLIP_PROBABILITY": 0, "ROTATION_DEGREES": 0,
        "TRANSLATION": 0, "SCALE": (1, 1), "SHEAR_DEGREES": 0,
    }.items():  # fmt: skip
        monkeypatch.setattr(augment, name, still)
    images = torch.rand(2, 1, 16, 16, generator=generator())
    assert torch.allclose(augment._warp(images, generator()), images, atol=1e-5)
    monkeypatch.setattr(augment, "FLIP_PROBABILITY", 1)
    assert torch.allclose(augment._warp(images, generator()), images.flip(3), atol=1e-5)


def test_what_is_shifted_in_is_empty(monkeypatch):
    for name, still in {"ROTATION_DEGREES": 0, "SCALE": (1, 1), "SHEAR_DEGREES": 0}.items():
        monkeypatch.setattr(augment, name, still)
    views = augment._warp(torch.ones(200, 1, 20, 20), generator())
    empty = (views == 0).float().mean().item()
    # Uniform shifts of up to a fifth either way leave on average a tenth empty along each axis.
    assert empty == pytest.approx(1 - 0.9**2, abs=0.03)


def test_oblong_slices_are_refused():
    with pytest.raises(ShapeError, match="images"):
        contrastive_views(torch.zeros(1, 1, 4, 5), generator())
