"""Intensities and nearest-neighbour sizes."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import zoom

from worker.learning.errors import NonFiniteError, ShapeError
from worker.learning.intensity import nearest_sources, normalise_volume, resize_nearest


def test_nearest_sources_are_those_of_scipy_for_every_pair_of_lengths() -> None:
    for source in range(1, 70):
        line = np.arange(source)
        for target in range(1, 70):
            expected = zoom(line, target / source, order=0, mode="nearest")
            assert len(expected) == target
            assert np.array_equal(nearest_sources(source, target), expected), (source, target)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 96, 128, 256]), st.booleans())
def test_planes_are_resized_bit_for_bit_as_scipy_does(height: int, width: int, size: int, back: bool) -> None:
    source, target = ((size, size), (height, width)) if back else ((height, width), (size, size))
    planes = np.random.default_rng(height * 1000 + width).normal(size=(2, *source)).astype(np.float32)
    factors = (1, target[0] / source[0], target[1] / source[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy announces how it rounds output shapes
        expected = zoom(planes, factors, order=0, mode="nearest")
    if expected.shape[1:] == target:
        assert np.array_equal(resize_nearest(planes, target), expected)


def test_scipys_blank_last_line_is_not_inherited() -> None:
    # 256 to 216: the last position lies a rounding error beyond the edge, where scipy's default mode gives zeros.
    plane = np.ones((256, 256), dtype=np.uint8)
    assert zoom(plane, 216 / 256, order=0)[-1].max() == 0
    assert resize_nearest(plane, (216, 216)).min() == 1


def test_own_size_changes_nothing() -> None:
    planes = np.random.default_rng(0).integers(0, 255, (3, 17, 23)).astype(np.uint8)
    assert np.array_equal(resize_nearest(planes, (17, 23)), planes)


def test_planes_without_extent_are_refused() -> None:
    with pytest.raises(ShapeError):
        resize_nearest(np.zeros((2, 0, 4)), (8, 8))
    with pytest.raises(ShapeError):
        resize_nearest(np.zeros((2, 4, 4)), (0, 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_normalised_volume_spans_zero_to_one_below_the_99th_percentile(dtype: type) -> None:
    values = np.random.default_rng(1).integers(0, 120, (4, 30, 20))
    values[0, 0, 0] = 127
    volume = values.astype(dtype)
    top = float(np.percentile(values, 99))
    expected = (np.minimum(values, top) - values.min()) / (top - values.min())
    normalised = normalise_volume(volume)
    assert normalised.dtype == np.float32
    assert np.allclose(normalised, expected, atol=1e-6)
    assert (normalised.min(), normalised.max()) == (0, 1)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e4))
def test_normalising_forgets_offset_and_positive_scale(offset: float, scale: float) -> None:
    volume = np.random.default_rng(2).integers(0, 50, (2, 12, 12)).astype(np.float64)
    assert np.allclose(normalise_volume(volume), normalise_volume(volume * scale + offset), atol=1e-4)


def test_constant_volume_becomes_zeros() -> None:
    assert not normalise_volume(np.full((2, 5, 5), 900, dtype=np.int16)).any()


def test_rare_bright_voxels_survive_on_an_empty_volume() -> None:
    volume = np.zeros((4, 20, 20), dtype=np.int16)
    volume[1, 3, 3] = 700
    assert normalise_volume(volume)[1, 3, 3] == 1


def test_colour_of_bytes_is_divided_by_255() -> None:
    volume = np.random.default_rng(3).integers(10, 90, (2, 6, 6, 3)).astype(np.uint8)
    assert np.allclose(normalise_volume(volume), volume / 255)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(bad: float) -> None:
    volume = np.zeros((3, 4, 5), dtype=np.float32)
    volume[1, 2, 3] = volume[2, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=r"\(1, 2, 3\)"):
        normalise_volume(volume)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        normalise_volume(np.zeros(shape))
