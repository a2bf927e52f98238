"""Between native size and the network's: what each way of resizing keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from tests.oracles import resize_mask_loops
from worker.learning.resize import labels_in_native, resize_mask, resize_planes

MASKS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=24),
    elements=st.sampled_from([0, 1, 3, 255]),
)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(2, 20))
def test_a_cell_takes_the_label_that_most_of_its_labelled_pixels_have(mask: np.ndarray, size: int) -> None:
    np.testing.assert_array_equal(resize_mask(mask, size, "area"), resize_mask_loops(mask, size))


def test_a_thin_scribble_survives_by_area_and_not_by_nearest() -> None:
    mask = np.full((256, 256), 255, dtype=np.uint8)
    mask[102, 30:200] = 2  # between two rows that nearest takes
    assert (resize_mask(mask, 64, "area") == 2).sum() >= 170 / 4
    assert (resize_mask(mask, 64, "nearest") == 2).sum() == 0


@pytest.mark.parametrize("how", ["nearest", "area"])
def test_nothing_labelled_stays_unlabelled(how: str) -> None:
    assert (resize_mask(np.full((9, 7), 255, np.uint8), 5, how) == 255).all()


@pytest.mark.parametrize("how", ["nearest", "area"])
def test_images_stay_within_their_range(how: str) -> None:
    planes = np.random.default_rng(0).random((3, 1, 50, 40), dtype=np.float32)
    resized = resize_planes(planes, 16, how)
    assert resized.shape == (3, 1, 16, 16)
    assert planes.min() <= resized.min() <= resized.max() <= planes.max()
    np.testing.assert_allclose(resize_planes(np.full((1, 1, 30, 20), 0.3, np.float32), 16, how), 0.3, rtol=1e-6)


@pytest.mark.parametrize("how", ["nearest", "area"])
def test_a_half_plane_comes_back_where_it_was(how: str) -> None:
    probabilities = torch.zeros(1, 2, 16, 16)
    probabilities[:, 0, :, :8], probabilities[:, 1, :, 8:] = 1, 1
    labels = labels_in_native(probabilities, (64, 64), how)
    assert labels.shape == (1, 64, 64)
    assert labels.dtype == torch.uint8
    assert (labels[:, :, :30] == 0).all()
    assert (labels[:, :, 34:] == 1).all()
