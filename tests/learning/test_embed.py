"""Training the encoder end to end on small synthetic patients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from worker.learning.configs import EncoderConfig
from worker.learning.embed import build_encoder, embed_slices, fit_encoder
from worker.learning.errors import NonFiniteError, PoolStructureError, ShapeError, TrainingDivergedError
from worker.learning.shapes import SlicePool

CPU = torch.device("cpu")
CONFIG = EncoderConfig(image_size=32, epochs=3, start="scratch", weight_patient=0.5, precision="float32")


def make_pool(patients: int = 3, volumes: int = 2, slices: int = 3, channels: int = 1) -> SlicePool:
    """Every patient has its own pattern, every slice its own noise."""
    generator = torch.Generator().manual_seed(0)
    count = patients * volumes * slices
    patient_ids = torch.arange(count) // (volumes * slices)
    patterns = torch.rand(patients, channels, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noise = torch.rand(count, channels, 32, 32, generator=generator)
    images = 0.8 * patterns[patient_ids] + 0.2 * noise
    return SlicePool(images, patient_ids, torch.arange(count) // slices, torch.arange(count) % slices)


def test_whoever_reads_features_is_told_and_can_be_stopped() -> None:
    pool = make_pool()
    config = replace(CONFIG, embed_batch=8)
    encoder = build_encoder(fit_encoder(pool, replace(CONFIG, epochs=1), 0, silent, CPU).state, config, 1)
    told: list[tuple[int, int]] = []
    embed_slices(encoder, pool.images, config, CPU, lambda done, total, _message: told.append((done, total)))
    assert told == [(0, 18), (8, 18), (16, 18)]

    def stop(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_slices(encoder, pool.images, config, CPU, stop)


def silent(done: int, total: int, message: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """These nets are so small that threads only wait for each other, for seconds where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def fitted():
    return fit_encoder(make_pool(), CONFIG, 1, silent, CPU)


def test_training_lowers_the_loss(fitted):
    assert len(fitted.losses) == 3
    assert fitted.losses[-1] < fitted.losses[0] - 0.05


def test_equal_seeds_give_equal_encoders_whatever_the_global_state(fitted):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = fit_encoder(make_pool(), CONFIG, 1, silent, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.losses == fitted.losses
    assert all(torch.equal(again.state[name], tensor) for name, tensor in fitted.state.items())


def test_another_seed_gives_another_encoder(fitted):
    other = fit_encoder(make_pool(), replace(CONFIG, epochs=1), 2, silent, CPU)
    assert other.losses[0] != fitted.losses[0]


def test_features_are_those_before_the_head_and_do_not_depend_on_the_batch(fitted):
    encoder = build_encoder(fitted.state, fitted.config, fitted.channels)
    images = make_pool().images
    features = embed_slices(encoder, images, CONFIG, CPU)
    assert features.shape == (18, 512)
    assert features.dtype == np.float32
    one_by_one = embed_slices(encoder, images, replace(CONFIG, embed_batch=5), CPU)
    np.testing.assert_allclose(features, one_by_one, rtol=1e-4, atol=1e-4)
    assert not np.allclose(np.linalg.norm(features, axis=1), 1, atol=0.1)


def test_features_bring_slices_of_one_patient_together(fitted):
    encoder = build_encoder(fitted.state, fitted.config, fitted.channels)
    features = embed_slices(encoder, make_pool().images, CONFIG, CPU)
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    same = np.equal.outer(np.arange(18) // 6, np.arange(18) // 6)
    assert distances[same].sum() / (same.sum() - 18) < 0.8 * distances[~same].mean()


@pytest.mark.parametrize(
    "weights",
    [
        {"weight_patient": 0.0, "weight_volume": 0.0},
        {"weight_nt_xent": 0.0, "weight_slice": 0.3, "anchors": "first", "precision": "auto"},
        {"legacy": True},
        {"nt_xent_negatives": "other-patients"},
    ],
)
def test_other_mixtures_of_losses_train(weights):
    config = replace(CONFIG, epochs=1, **weights)
    loss = fit_encoder(make_pool(patients=2), config, 0, silent, CPU).losses[0]
    assert np.isfinite(loss)
    assert loss != fit_encoder(make_pool(patients=2), replace(CONFIG, epochs=1), 0, silent, CPU).losses[0]


def test_bytes_in_colour_train():
    pool = make_pool(patients=2, channels=3)
    pool = replace(pool, images=(pool.images * 255).to(torch.uint8))
    fitted = fit_encoder(pool, replace(CONFIG, epochs=1), 0, silent, CPU)
    assert fitted.channels == 3
    assert embed_slices(build_encoder(fitted.state, CONFIG, 3), pool.images, CONFIG, CPU).shape == (12, 512)


def test_progress_counts_every_step_to_the_end():
    heard = []
    fit_encoder(make_pool(patients=2), replace(CONFIG, epochs=2), 0, lambda *call: heard.append(call), CPU)
    assert [done for done, _, _ in heard] == list(range(1, 9))
    assert {total for _, total, _ in heard} == {8}
    assert heard[0][2] == "epoch 1 of 2"
    assert heard[-1][2].startswith("epoch 2 of 2, loss ")


def test_what_the_listener_raises_ends_the_training():
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int, message: str) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_encoder(make_pool(), CONFIG, 0, cancel, CPU)


def test_unreachable_imagenet_weights_warn_in_the_result(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))
    fitted = fit_encoder(make_pool(patients=2), replace(CONFIG, epochs=1, start="imagenet"), 0, silent, CPU)
    assert fitted.start == "scratch"
    assert "from scratch" in fitted.warning


def test_a_wanted_scratch_start_is_no_warning(fitted):
    assert (fitted.start, fitted.warning) == ("scratch", None)


def test_a_diverging_training_says_so():
    config = replace(CONFIG, epochs=1, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match="loss is nan"):
        fit_encoder(make_pool(patients=2), config, 0, silent, CPU)


def test_bad_pools_are_refused():
    pool = make_pool(patients=2)
    broken = pool.images.clone()
    broken[5, 0, 3, 3] = torch.nan
    with pytest.raises(NonFiniteError, match="images of the pool"):
        fit_encoder(replace(pool, images=broken), CONFIG, 0, silent, CPU)
    with pytest.raises(ShapeError, match="32, 32"):
        fit_encoder(replace(pool, images=pool.images[..., :16, :16]), CONFIG, 0, silent, CPU)
    with pytest.raises(PoolStructureError, match="holds position 0 twice"):
        fit_encoder(replace(pool, z=torch.zeros_like(pool.z)), CONFIG, 0, silent, CPU)


def test_non_finite_features_name_the_slice(fitted):
    encoder = build_encoder(fitted.state, fitted.config, fitted.channels)
    images = make_pool().images.clone()
    images[7] = torch.inf
    with pytest.raises(NonFiniteError, match=r"\(7,\)"):
        embed_slices(encoder, images, CONFIG, CPU)
