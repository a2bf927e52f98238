"""One member is trained on annotated slices and kept as it was when it scored best."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests import oracles
from tests.learning.discs import disc_volume, labelled_discs
from worker.learning.configs import SegmentationConfig
from worker.learning.errors import BadInputError, ShapeError, TrainingDivergedError
from worker.learning.metrics import mean_dice, score_volume
from worker.learning.nets.unet import build_network
from worker.learning.predict import predict_volume
from worker.learning.shapes import LabelledSlices, ReferenceVolume
from worker.learning.train import (
    FittedSegmentation,
    Tally,
    endless_batches,
    fit_segmentation,
    make_optimizer,
    set_rate,
)

CPU = torch.device("cpu")
QUICK = SegmentationConfig(
    classes=3, image_size=32, iterations=60, batch_size=6, optimizer="adamw", learning_rate=5e-3, validate_every=20
)


def fit(
    config: SegmentationConfig,
    training: LabelledSlices,
    validation: list[ReferenceVolume],
    seed: int = 0,
) -> tuple[FittedSegmentation, list[tuple[int, int, str]]]:
    reports: list[tuple[int, int, str]] = []
    fitted = fit_segmentation(training, validation, config, seed, lambda *report: reports.append(report), CPU)
    return fitted, reports


def dice_of(state: dict[str, torch.Tensor], config: SegmentationConfig, volumes: list[ReferenceVolume]) -> float:
    """What a state scores through the public way of predicting and scoring."""
    network = build_network(state, config)
    scores = []
    for volume in volumes:
        predicted = predict_volume([network], volume.images, volume.reference.shape[1:], config, CPU)
        scored = score_volume(predicted, volume.reference, range(1, config.classes), volume.spacing)
        scores.append([score.dice for score in scored])
    mean = mean_dice(scores)
    assert mean is not None
    return mean


@pytest.fixture(scope="module")
def volumes() -> list[ReferenceVolume]:
    return [disc_volume(4, 32, 100, (40, 37)), disc_volume(3, 32, 101, (25, 32))]


@pytest.fixture(scope="module", params=[("unet", 1.0), ("dmpls", 0.06)], ids=["masks", "scribbles"])
def fitted(
    request: pytest.FixtureRequest, volumes: list[ReferenceVolume]
) -> tuple[FittedSegmentation, list[tuple[int, int, str]]]:
    network, kept = request.param
    iterations = 60 if network == "unet" else 120
    config = replace(QUICK, network=network, iterations=iterations)
    return fit(config, labelled_discs(12, 32, 1, kept), volumes)


def test_discs_are_learned_in_seconds(
    fitted: tuple[FittedSegmentation, list[tuple[int, int, str]]], volumes: list[ReferenceVolume]
) -> None:
    member, _ = fitted
    assert member.best_dice is not None
    assert member.best_dice > 0.8
    assert dice_of(member.state, member.config, volumes) == pytest.approx(member.best_dice, abs=1e-9)


def test_kept_state_is_the_best_of_all_validations(
    fitted: tuple[FittedSegmentation, list[tuple[int, int, str]]], volumes: list[ReferenceVolume]
) -> None:
    member, _ = fitted
    validated = {step: dice for step, _, dice in member.history if dice is not None}
    assert list(validated) == list(range(20, member.config.iterations + 1, 20))
    assert member.best_dice == max(validated.values())
    assert member.best_step == next(step for step, dice in validated.items() if dice == member.best_dice)
    last = dice_of(member.last_state, member.config, volumes)
    assert last == pytest.approx(validated[member.config.iterations], abs=1e-9)


def test_progress_is_reported_every_few_steps_up_to_the_last(
    fitted: tuple[FittedSegmentation, list[tuple[int, int, str]]],
) -> None:
    member, reports = fitted
    total = member.config.iterations
    assert [done for done, _, _ in reports] == list(range(1, total + 1))
    assert {out_of for _, out_of, _ in reports} == {total}
    assert "validation Dice" in reports[19][2]
    assert 0 < member.validation_seconds < member.seconds


def test_best_is_kept_when_training_gets_worse_again() -> None:
    # The reference holds classes 1 to 9, of which a fresh network finds some by chance; the labels say that all is
    # background, so this is unlearned again.
    slices = labelled_discs(6, 32, 2)
    training = LabelledSlices(slices.images, torch.zeros_like(slices.labels))
    reference = np.random.default_rng(0).integers(1, 10, (2, 32, 32)).astype(np.uint8)
    volume = ReferenceVolume(slices.images[:2], reference, None)
    config = replace(QUICK, classes=10, learning_rate=5e-4, validate_every=2, iterations=20, precision="float32")
    member, _ = fit(config, training, [volume])
    assert member.best_step < config.iterations
    assert member.best_dice is not None
    assert dice_of(member.state, config, [volume]) == pytest.approx(member.best_dice, abs=1e-9)
    assert dice_of(member.last_state, config, [volume]) < member.best_dice


def test_of_equal_scores_the_first_is_kept() -> None:
    network = torch.nn.Linear(1, 1)
    tally = Tally()
    for step, dice in ((10, 0.25), (20, 0.5), (30, 0.5), (40, 0.25)):
        torch.nn.init.constant_(network.weight, step)
        tally.note(step, 1.0, dice, network)
    assert (tally.best_step, tally.best_dice, tally.step) == (20, 0.5, 40)
    assert tally.best_state is not None
    assert float(tally.best_state["weight"]) == 20


def test_same_seed_same_member_and_the_global_generators_are_left_alone(volumes: list[ReferenceVolume]) -> None:
    config = replace(QUICK, network="dmpls", iterations=6, validate_every=3)
    training = labelled_discs(7, 32, 3, 0.1)
    before = torch.get_rng_state()
    (first, _), (second, _), (third, _) = (fit(config, training, volumes, seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert first.history == second.history
    assert all(torch.equal(first.last_state[name], second.last_state[name]) for name in first.last_state)
    assert first.history != third.history


MODERN = {
    "pseudo_labels": "soft",
    "pseudo_ramp": 0.4,
    "shut_out_background": True,
    "augmentation": "strong",
    "ema_decay": 0.9,
}


@pytest.mark.parametrize(("network", "kept"), [("unet", 1.0), ("dmpls", 0.06)])
def test_every_field_of_the_modern_recipe_still_learns_the_discs(
    network: str, kept: float, volumes: list[ReferenceVolume]
) -> None:
    config = replace(QUICK, network=network, iterations=60, validate_every=60, **MODERN)
    member, _ = fit(config, labelled_discs(12, 32, 1, kept), volumes)
    assert member.best_dice is not None
    assert member.best_dice > 0.6
    assert dice_of(member.state, config, volumes) == pytest.approx(member.best_dice, abs=1e-9), "the average is kept"


def test_averaged_weights_are_what_is_validated_and_kept(volumes: list[ReferenceVolume]) -> None:
    config = replace(QUICK, iterations=6, validate_every=3, precision="float32")
    training = labelled_discs(7, 32, 3)
    (plain, _), (averaged, _) = (fit(replace(config, ema_decay=decay), training, volumes) for decay in (0.0, 0.9))
    assert [entry[1] for entry in plain.history] == [entry[1] for entry in averaged.history], "the steps are the same"
    name = "decoder.head.weight"
    assert not torch.equal(plain.last_state[name], averaged.last_state[name])


def test_masks_among_scribbles_are_learned_from_as_masks(volumes: list[ReferenceVolume]) -> None:
    # Scribbles name background alone, so whatever is found of the two structures comes from the masked slices.
    masks, scribbles = labelled_discs(6, 32, 1), labelled_discs(6, 32, 2, 0.06)
    background = torch.where(scribbles.labels == 0, 0, 255).to(torch.uint8)
    both = LabelledSlices(torch.cat([masks.images, scribbles.images]), torch.cat([masks.labels, background]))
    config = replace(QUICK, network="dmpls", iterations=60, validate_every=60)
    member, _ = fit(config, both, volumes)
    assert member.best_dice is not None
    assert member.best_dice > 0.6
    assert dice_of(member.state, config, volumes) == pytest.approx(member.best_dice, abs=1e-9)


def test_without_validation_the_last_state_is_kept() -> None:
    member, _ = fit(replace(QUICK, iterations=4), labelled_discs(3, 32, 4), [])
    assert (member.best_step, member.best_dice, member.validation_seconds) == (4, None, 0)
    assert member.state is member.last_state


def test_validation_that_holds_no_class_scores_nothing() -> None:
    empty = ReferenceVolume(torch.zeros(2, 1, 32, 32), np.full((2, 9, 9), 255, dtype=np.uint8), None)
    member, _ = fit(replace(QUICK, iterations=2), labelled_discs(3, 32, 4), [empty])
    assert member.best_dice is None
    assert member.best_step == 2


@pytest.mark.parametrize("network", ["unet", "dmpls"])
def test_slices_without_any_label_do_not_turn_the_weights_into_nan(network: str) -> None:
    images = labelled_discs(4, 32, 5).images
    training = LabelledSlices(images, torch.full((4, 32, 32), 255, dtype=torch.uint8))
    member, _ = fit(replace(QUICK, network=network, iterations=3), training, [])
    assert all(value.isfinite().all() for value in member.last_state.values())
    assert math.isfinite(member.history[-1][1])


def test_validation_volumes_may_mix_bytes_and_floats(volumes: list[ReferenceVolume]) -> None:
    config = replace(QUICK, iterations=8, precision="float32")
    first, second = volumes
    exact = replace(first, images=(first.images * 255).round() / 255)
    as_bytes = replace(first, images=(first.images * 255).round().to(torch.uint8))
    training = labelled_discs(6, 32, 2)
    plain, mixed = (fit(config, training, [each, second])[0].best_dice for each in (exact, as_bytes))
    assert plain == mixed


def test_one_slice_in_colour_as_bytes_can_be_trained_on() -> None:
    one = labelled_discs(1, 32, 6)
    training = LabelledSlices((one.images * 255).to(torch.uint8).repeat(1, 3, 1, 1), one.labels)
    member, _ = fit(replace(QUICK, channels=3, iterations=2, precision="float32"), training, [])
    assert member.last_state["encoder.blocks.0.0.weight"].shape[1] == 3


def test_published_optimizer_trains_too(volumes: list[ReferenceVolume]) -> None:
    config = replace(QUICK, optimizer="sgd", learning_rate=0.05, weight_decay=1e-4, iterations=40)
    member, _ = fit(config, labelled_discs(12, 32, 1), volumes)
    assert member.history[-1][1] < 0.6 * member.history[0][1]


def test_rate_falls_polynomially_to_nearly_zero() -> None:
    config = SegmentationConfig(iterations=1000, learning_rate=0.01)
    optimizer = make_optimizer(build_network(None, config), config)
    rates = []
    for step in (1, 501, 1000):
        set_rate(optimizer, config, step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.01 * 0.5**0.9, 0.01 * 0.001**0.9])


def test_every_slice_is_seen_once_an_epoch() -> None:
    batches = endless_batches(7, 3, torch.Generator().manual_seed(0))
    epochs = [torch.cat([next(batches) for _ in range(3)]).tolist() for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 2
    assert epochs[0] != epochs[1]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(1, 4), st.integers(0, 2**32))
def test_batches_equal_their_loops(count: int, size: int, epochs: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    expected = oracles.loop_batches([torch.randperm(count, generator=draws).tolist() for _ in range(epochs)], size)
    batches = endless_batches(count, size, torch.Generator().manual_seed(seed))
    assert [next(batches).tolist() for _ in expected] == expected


def test_what_the_progress_callback_raises_stops_the_work_untouched() -> None:
    class StopRequestedError(Exception):
        pass

    def stop(done: int, total: int, message: str) -> None:
        raise StopRequestedError

    with pytest.raises(StopRequestedError):
        fit_segmentation(labelled_discs(3, 32, 7), [], replace(QUICK, iterations=30), 0, stop, CPU)


def test_diverging_loss_is_an_error_and_not_a_model() -> None:
    config = replace(QUICK, optimizer="sgd", learning_rate=1e30, iterations=20, precision="float32")
    with pytest.raises(TrainingDivergedError):
        fit(config, labelled_discs(3, 32, 8), [])


def test_unfit_data_is_refused() -> None:
    good = labelled_discs(3, 32, 9)
    with pytest.raises(BadInputError, match="at least one"):
        fit(QUICK, LabelledSlices(good.images[:0], good.labels[:0]), [])
    with pytest.raises(BadInputError, match="label 2 was found"):
        fit(replace(QUICK, classes=2), good, [])
    with pytest.raises(ShapeError):
        fit(replace(QUICK, image_size=48), good, [])
    with pytest.raises(ShapeError):
        fit(replace(QUICK, channels=3), good, [])
    with pytest.raises(BadInputError, match="not finite"):
        fit(QUICK, LabelledSlices(good.images * torch.nan, good.labels), [])
