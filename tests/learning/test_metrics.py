"""Dice and HD95 against loops, against MONAI and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests import oracles
from worker.learning.errors import BadInputError, ShapeError
from worker.learning.metrics import ClassScore, dice_of_counts, hd95, mean_dice, score_volume


@st.composite
def volumes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0.02, 0.3, 0.9]))
    prediction, reference = (
        np.where(generator.random(shape) < density, generator.integers(1, 3, shape), 0).astype(np.uint8)
        for _ in range(2)
    )
    reference[generator.random(shape) < draw(st.sampled_from([0.0, 0.0, 0.2]))] = 255
    step = st.floats(0.3, 12)
    return prediction, reference, (draw(step), draw(step), draw(step))


@settings(max_examples=60, deadline=None)
@given(volumes())
def test_scores_equal_their_loops(drawn: tuple[np.ndarray, np.ndarray, tuple[float, float, float]]) -> None:
    prediction, reference, spacing = drawn
    for score in score_volume(prediction, reference, (0, 1, 2), spacing):
        counts = oracles.loop_counts(prediction, reference, score.value)
        assert score.slice_counts == tuple(counts)
        totals = tuple(sum(column) for column in zip(*counts, strict=True))
        assert (score.true_positives, score.false_positives, score.false_negatives) == totals
        said = (prediction == score.value) & (reference != 255)
        expected = oracles.loop_hd95(said, reference == score.value, spacing)
        assert (score.hd95 is None) == (expected is None)
        if expected is not None:
            assert score.hd95 == pytest.approx(expected, abs=1e-9)
        average = oracles.loop_asd(said, reference == score.value, spacing)
        assert (score.asd is None) == (average is None)
        if average is not None:
            assert score.asd == pytest.approx(average, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(volumes())
def test_hd95_is_symmetric_and_zero_on_itself(
    drawn: tuple[np.ndarray, np.ndarray, tuple[float, float, float]],
) -> None:
    first, second, spacing = drawn[0] == 1, drawn[1] == 1, drawn[2]
    assert hd95(first, second, spacing) == hd95(second, first, spacing)
    if first.any():
        assert hd95(first, first, spacing) == 0


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own call of its own function
def test_hd95_agrees_with_monai(monai_metrics: object) -> None:
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(24), np.arange(20), indexing="ij"))
    for _ in range(6):
        centres = generator.uniform([2, 8, 8], [6, 16, 12], (2, 3))
        radii = generator.uniform(2, 7, 2)
        first, second = (
            (((grid - centre[:, None, None, None]) * np.array([2, 1, 1])[:, None, None, None]) ** 2).sum(0) < radius**2
            for centre, radius in zip(centres, radii, strict=True)
        )
        spacing = tuple(float(step) for step in generator.uniform(0.5, 8, 3))
        expected = monai_metrics.compute_hausdorff_distance(  # type: ignore[attr-defined]
            torch.from_numpy(first)[None, None],
            torch.from_numpy(second)[None, None],
            include_background=True,
            percentile=95,
            spacing=list(spacing),
        ).item()
        measured = hd95(first, second, (spacing[0], spacing[1], spacing[2]))
        assert measured == pytest.approx(expected, rel=1e-5, abs=1e-5)


def masks(*positions: tuple[int, int, int], shape: tuple[int, int, int] = (3, 9, 9)) -> np.ndarray:
    volume = np.zeros(shape, dtype=np.uint8)
    for position in positions:
        volume[position] = 1
    return volume


def only(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float] | None) -> ClassScore:
    (score,) = score_volume(prediction, reference, (1,), spacing)
    return score


def test_distance_uses_the_spacing_of_its_axis() -> None:
    one, two, three = masks((0, 4, 4)), masks((2, 4, 4)), masks((0, 4, 8))
    assert only(one, two, (10.0, 1.5, 1.25)).hd95 == pytest.approx(20)
    assert only(one, three, (10.0, 1.5, 1.25)).hd95 == pytest.approx(5)
    assert only(one, masks((1, 6, 4)), (10.0, 1.5, 1.25)).hd95 == pytest.approx(math.hypot(10, 3))


def test_without_spacing_the_unit_is_voxel() -> None:
    score = only(masks((0, 4, 4)), masks((2, 4, 4)), None)
    assert (score.hd95, score.unit) == (pytest.approx(2), "voxel")
    assert only(masks((0, 4, 4)), masks((2, 4, 4)), (1.0, 1.0, 1.0)).unit == "mm"


def test_hd95_is_the_larger_of_the_two_directions() -> None:
    # From the reference everything is near; from the prediction half of its points are not.
    reference = masks((0, 0, 0), shape=(1, 1, 40))
    prediction = masks((0, 0, 0), (0, 0, 30), shape=(1, 1, 40))
    assert only(prediction, reference, None).hd95 == pytest.approx(0.95 * 30)


def test_class_that_is_in_neither_is_not_scored() -> None:
    score = only(masks(), masks(), (1.0, 1.0, 1.0))
    assert (score.dice, score.hd95, score.missed) == (None, None, False)


@pytest.mark.parametrize("swapped", [False, True])
def test_class_in_one_of_them_is_a_miss_without_distance(swapped: bool) -> None:
    pair = (masks((1, 1, 1)), masks())
    score = only(*(reversed(pair) if swapped else pair), (1.0, 1.0, 1.0))
    assert (score.dice, score.hd95, score.missed) == (0, None, True)


def test_unlabelled_voxels_count_nowhere() -> None:
    reference, prediction = masks((0, 1, 1)), masks((0, 1, 1), (0, 8, 8))
    reference[0, 8, 8] = 255
    score = only(prediction, reference, None)
    assert (score.dice, score.hd95, score.false_positives) == (1, 0, 0)


def test_renaming_the_classes_renames_the_scores() -> None:
    generator = np.random.default_rng(5)
    prediction, reference = generator.integers(0, 3, (2, 3, 8, 8)).astype(np.uint8)
    names = np.array([0, 2, 1], dtype=np.uint8)
    one, two = score_volume(prediction, reference, (1, 2), None)
    other, another = score_volume(names[prediction], names[reference], (2, 1), None)
    assert (one.dice, one.hd95, two.dice, two.hd95) == (other.dice, other.hd95, another.dice, another.hd95)


def test_volume_of_one_slice_is_measured_in_its_plane() -> None:
    disc = np.zeros((1, 11, 11), dtype=np.uint8)
    disc[0, 2:9, 2:9] = 1
    ring = disc.copy()
    ring[0, 4:7, 4:7] = 0
    score = only(ring, disc, None)
    # Were every pixel surface, the filled centre would be at most 2 from the ring at its 95th percentile, not the edge.
    assert score.hd95 == pytest.approx(oracles.loop_hd95(ring == 1, disc == 1, (1, 1, 1)))
    assert score.hd95 is not None
    assert score.hd95 > 0


def test_mean_is_over_classes_then_volumes_and_skips_what_was_not_scored() -> None:
    assert mean_dice([[1.0, None, None], [0.0, 0.2, 0.4], [None]]) == pytest.approx((1 + 0.2) / 2)
    assert mean_dice([[None], []]) is None


@given(st.lists(st.lists(st.none() | st.floats(0, 1), max_size=3), max_size=5))
def test_mean_equals_its_loops(volumes: list[list[float | None]]) -> None:
    expected = oracles.mean_dice_by_loops(volumes)
    assert mean_dice(volumes) == (None if expected is None else pytest.approx(expected))
    assert dice_of_counts(2, 1, 1) == pytest.approx(4 / 6)


def test_volumes_of_different_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="predicted labels"):
        score_volume(masks(), masks(shape=(3, 9, 8)), (1,), None)


@pytest.mark.parametrize("spacing", [(1.0, 0.0, 1.0), (1.0, math.nan, 1.0), (-1.0, 1.0, 1.0)])
def test_spacing_that_is_not_positive_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(BadInputError, match="positive"):
        score_volume(masks(), masks(), (1,), spacing)
