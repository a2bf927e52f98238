"""A training that is cut short and goes on from its checkpoint ends, bit by bit, where it would have ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.storage.stores import LocalStore
from tests.learning.discs import disc_volume, draw_discs, labelled_discs
from worker.checkpoints import load_training, save_training
from worker.learning.configs import EncoderConfig, SegmentationConfig
from worker.learning.embed import FittedEncoder, fit_encoder
from worker.learning.resume import Resumable, TrainingState
from worker.learning.shapes import SlicePool
from worker.learning.train import FittedSegmentation, fit_segmentation

CPU = torch.device("cpu")


class Cut(Exception):
    """The worker is gone."""


class StoredCheckpoints:
    """Keeps every state as a blob, as a worker does."""

    def __init__(self, root: Path) -> None:
        self._blobs = LocalStore(root)
        self.keys: list[str] = []

    @property
    def found(self) -> TrainingState | None:
        return load_training(self._blobs, self.keys[-1]) if self.keys else None

    def keep(self, snapshot: Callable[[], TrainingState]) -> None:
        self.keys.append(save_training(self._blobs, snapshot()))


def cut_at(step: int) -> Callable[[int, int, str], None]:
    def report(done: int, _total: int, _message: str) -> None:
        if done == step:
            raise Cut

    return report


def quiet(_done: int, _total: int, _message: str) -> None:
    return


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("network", "optimizer", "ema_decay"), [("unet", "adamw", 0.0), ("dmpls", "sgd", 0.9)])
def test_a_member_goes_on_as_if_nothing_had_happened(
    network: str, optimizer: str, ema_decay: float, tmp_path: Path
) -> None:
    config = SegmentationConfig(
        network=network,
        classes=3,
        image_size=32,
        iterations=22,
        batch_size=4,
        optimizer=optimizer,
        ema_decay=ema_decay,
        validate_every=8,
    )
    training = labelled_discs(10, 32, 1, 1.0 if network == "unet" else 0.06)
    validation = [disc_volume(3, 32, 100, (40, 37))]

    def fit(report: Callable[[int, int, str], None], checkpoints: StoredCheckpoints | None) -> FittedSegmentation:
        return fit_segmentation(training, validation, config, 5, report, CPU, checkpoints)

    whole = fit(quiet, None)
    kept = StoredCheckpoints(tmp_path)
    for step in (13, 17):
        with pytest.raises(Cut):
            fit(cut_at(step), kept)
    assert [load_training(LocalStore(tmp_path), key).facts["step"] for key in kept.keys] == [8, 10, 16]
    steps: list[int] = []
    resumed = fit(lambda done, _total, _message: steps.append(done), kept)
    assert steps[0] == 17, "it did not begin anew"
    assert_same_weights(resumed.state, whole.state)
    assert_same_weights(resumed.last_state, whole.last_state)
    assert resumed.history == whole.history
    assert (resumed.best_step, resumed.best_dice) == (whole.best_step, whole.best_dice)


class HeldCheckpoints:
    """Keeps the newest state in memory."""

    found: TrainingState | None = None

    def keep(self, snapshot: Callable[[], TrainingState]) -> None:
        self.found = snapshot()


def test_an_encoder_goes_on_as_if_nothing_had_happened() -> None:
    images, _ = draw_discs(6, 32, 0)
    pool = SlicePool(images, torch.arange(6) // 3, torch.arange(6) // 3, torch.arange(6) % 3)
    config = EncoderConfig(image_size=32, batch_slices=6, epochs=2, start="scratch", embed_batch=8)

    def fit(report: Callable[[int, int, str], None], checkpoints: HeldCheckpoints | None) -> FittedEncoder:
        return fit_encoder(pool, config, 5, report, CPU, checkpoints=checkpoints)

    steps: list[int] = []
    whole = fit(lambda done, _total, _message: steps.append(done), None)
    kept = HeldCheckpoints()
    with pytest.raises(Cut):
        fit(cut_at(steps[-1]), kept)
    resumed = fit(quiet, kept)
    assert_same_weights(resumed.state, whole.state)
    assert resumed.losses == whole.losses


def test_moments_lie_in_memory_as_their_weights_do() -> None:
    def build() -> tuple[torch.nn.Module, torch.optim.Optimizer, Resumable]:
        network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        return network, optimizer, Resumable({"network": network}, optimizer, torch.Generator(), CPU)

    network, optimizer, resumable = build()
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    other, restored, twin = build()
    twin.restore(resumable.snapshot({}))
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state[mine].items():
            found = restored.state[theirs][name]
            assert torch.equal(found, value)
            assert found.stride() == value.stride()
