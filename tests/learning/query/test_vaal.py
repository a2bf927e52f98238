"""VAAL: shapes, losses against loop-written twins and the slices unlike annotated ones are picked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.oracles import (
    vaal_autoencoder_loss_by_loops,
    vaal_discriminator_loss_by_loops,
    vaal_divergence_by_loops,
)
from worker.learning.errors import ConfigError, TrainingDivergedError
from worker.learning.nets.vaal import Autoencoder, Discriminator, divergence
from worker.learning.query.pool import QueryPool
from worker.learning.query.vaal import (
    AdversaryPlan,
    autoencoder_loss,
    discriminator_loss,
    fit_adversaries,
    judge_slices,
    pick_by_vaal,
    prepare_images,
)
from worker.learning.seeding import seeded_initialisation

SLICES = 40
PLAN = AdversaryPlan(iterations=40, batch=16, width=8, seed=1)


def quiet(done: int, total: int, message: str) -> None:
    assert (done <= total, message) == (True, "training the adversaries")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """20 slices bright above and 20 bright below, with a little noise."""
    planes = 0.1 * torch.rand(SLICES, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    planes[:20, :, :16] += 0.8
    planes[20:, :, 16:] += 0.8
    return planes


@pytest.fixture(scope="module")
def annotated() -> np.ndarray:
    return np.arange(SLICES) < 10  # of the first kind only


def make_pool(images: torch.Tensor, annotated: np.ndarray) -> QueryPool:
    slices = np.arange(SLICES)
    return QueryPool(slices, slices, slices * 0, annotated, ~annotated, pixel_reader=images.numpy)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_discriminators_loss_and_divergence_equal_their_twins(annotated, others, seed):
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, annotated + others, 32, generator=generator)
    twin = vaal_divergence_by_loops(mean.tolist(), log_variance.tolist())
    assert divergence(mean, log_variance).tolist() == pytest.approx(twin, rel=1e-4)
    logits = 3 * torch.randn(annotated + others, generator=generator)
    expected = vaal_discriminator_loss_by_loops(logits.tolist(), annotated)
    assert float(discriminator_loss(logits, annotated)) == pytest.approx(expected, rel=1e-4)


def test_the_discriminator_is_asked_for_zero_on_the_others():
    """The published code asks for 1 of both kinds; then calling everything annotated would cost nothing."""
    assert float(discriminator_loss(torch.full((4,), 20.0), 2)) == pytest.approx(20, abs=1e-3)
    assert float(discriminator_loss(torch.tensor([20.0, 20.0, -20.0, -20.0]), 2)) == pytest.approx(0, abs=1e-3)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_autoencoders_loss_equals_its_twin(annotated, others, seed):
    with seeded_initialisation(seed, "vaal"):
        autoencoder, discriminator = Autoencoder(1, 32, 4).eval(), Discriminator()
    batch = torch.rand(annotated + others, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    loss = autoencoder_loss(autoencoder, discriminator, batch, annotated, torch.Generator().manual_seed(5))
    mean, log_variance = autoencoder.encode(batch)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    rebuilt = autoencoder.decode(mean + noise * torch.exp(log_variance / 2))
    logits = discriminator(mean)
    numbers = (each.tolist() for each in (mean, log_variance, logits))
    expected = vaal_autoencoder_loss_by_loops(batch.numpy(), rebuilt.numpy(), *numbers, annotated)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("channels", "side", "width"), [(1, 32, 8), (3, 64, 4)])
def test_codes_have_32_entries_and_pictures_come_back_in_shape(channels, side, width):
    autoencoder = Autoencoder(channels, side, width)
    mean, log_variance = autoencoder.encode(torch.rand(2, channels, side, side))
    assert mean.shape == log_variance.shape == (2, 32)
    assert autoencoder.decode(mean).shape == (2, channels, side, side)
    assert Discriminator()(mean).shape == (2,)


@pytest.mark.parametrize(("side", "expected"), [(256, 256), (96, 64), (33, 32), (4, 32)])
def test_pictures_are_brought_to_a_power_of_two(side, expected):
    prepared = prepare_images(np.full((2, 1, side, side), 255, dtype=np.uint8))
    assert prepared.shape == (2, 1, expected, expected)
    assert prepared.unique().tolist() == [1.0]


def test_slices_unlike_the_annotated_ones_are_judged_so_and_picked(images, annotated):
    networks = fit_adversaries(images, torch.from_numpy(annotated), PLAN, quiet)
    judged = judge_slices(*networks, images)
    assert judged.shape == (SLICES,)
    assert judged[:20].mean() > judged[20:].mean() + 0.1
    config = {"epochs": 16, "batch": 16, "width": 8}  # 40 iterations as well
    picks = pick_by_vaal(make_pool(images, annotated), 8, config, rng(3))
    assert sum(index >= 20 for index in picks.indices) >= 7
    assert list(picks.values) == sorted(picks.values, reverse=True)


def test_training_repeats_with_the_seed_and_leaves_the_global_generator_alone(images, annotated):
    plan = AdversaryPlan(iterations=2, batch=8, width=4, seed=9)
    before = torch.get_rng_state()
    first, second = (
        judge_slices(*fit_adversaries(images, torch.from_numpy(annotated), plan, quiet), images) for _ in range(2)
    )
    assert (first == second).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_one_annotated_slice_is_enough(images):
    alone = np.arange(SLICES) == 3
    picks = pick_by_vaal(make_pool(images, alone), 2, {"epochs": 1, "batch": 40, "width": 4}, rng())
    assert len(picks.indices) == 2
    assert picks.note is None


def test_with_nothing_annotated_it_is_random_and_says_so(images):
    picks = pick_by_vaal(make_pool(images, np.zeros(SLICES, dtype=bool)), 3, {}, rng())
    assert picks.note == "drawn at random, because nothing is annotated yet"


def test_what_progress_raises_stops_the_training(images, annotated):
    class Stop(Exception):
        pass

    def stop(done: int, total: int, message: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit_adversaries(images, torch.from_numpy(annotated), PLAN, stop)


def test_pictures_that_are_not_finite_and_bad_settings_are_refused(images, annotated):
    broken = images.clone()
    broken[:] = torch.nan
    with pytest.raises(TrainingDivergedError, match="nan by step 1"):
        fit_adversaries(broken, torch.from_numpy(annotated), AdversaryPlan(1, 8, 4, 0), quiet)
    with pytest.raises(ConfigError, match="width"):
        pick_by_vaal(make_pool(images, annotated), 2, {"width": 0}, rng())
