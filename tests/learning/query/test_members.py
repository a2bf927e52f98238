"""Real members before a pool: batched answers equal slow ones, dropout acts alone, features are the best member's."""

import numpy as np
import pytest
import torch

from worker.learning import predict
from worker.learning.configs import SegmentationConfig
from worker.learning.errors import BadInputError, ShapeError
from worker.learning.nets.unet import UNet, build_network
from worker.learning.query import members as members_module
from worker.learning.query.members import Members
from worker.learning.query.uncertainty import variance_ratio
from worker.learning.seeding import seeded_initialisation

CPU = torch.device("cpu")
CONFIG = SegmentationConfig(classes=3, image_size=32, precision="float32")
SLICES = 7


@torch.no_grad()
def make_networks(count: int = 2) -> list[UNet]:
    networks = []
    for member in range(count):
        with seeded_initialisation(member, "member"):
            networks.append(build_network(None, CONFIG))
            for _ in range(5):  # batch norm learns the statistics; fresh ones would drown every signal
                networks[-1](torch.rand(4, 1, 32, 32))
    return networks


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (SLICES, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def ask(images: torch.Tensor, networks: list[UNet] | None = None, **options) -> Members:
    return Members(networks or make_networks(), lambda: images, CONFIG, CPU, lambda *_: None, **options)


def keep_maps(maps):
    return torch.stack(list(maps), dim=1)  # (B, M, C, S, S)


def test_batched_maps_are_those_of_one_slice_and_member_at_a_time(images, monkeypatch):
    monkeypatch.setattr(members_module, "CPU_BATCH_PIXELS", 3 * 32 * 32)
    networks, indices = make_networks(), np.array([6, 1, 2, 0, 4])
    maps = ask(images, networks).score_by_members(keep_maps, indices)
    assert maps.shape == (5, 2, 3, 32, 32)
    for row, index in enumerate(indices):
        for member, network in enumerate(networks):
            alone = predict.predict_probabilities([network], images[index : index + 1], CONFIG, CPU)
            assert maps[row, member] == pytest.approx(alone[0].numpy(), abs=1e-5)


def test_no_more_maps_live_at_once_than_one_batch_of_one_member(images, monkeypatch):
    monkeypatch.setattr(members_module, "CPU_BATCH_PIXELS", 2 * 32 * 32)
    seen: list[tuple[int, ...]] = []

    def reduce(maps):
        seen.extend(tuple(each.shape) for each in maps)
        return torch.zeros(seen[-1][0])

    ask(images).score_by_members(reduce, np.arange(5))
    assert set(seen) == {(2, 3, 32, 32), (1, 3, 32, 32)}
    assert len(seen) == 3 * 2


def test_dropout_passes_differ_and_repeat_with_the_seed(images):
    asked, indices = ask(images), np.arange(3)
    first = asked.score_by_dropout(keep_maps, indices, 3, seed=1)
    assert first.shape == (2, 3, 3, 3, 32, 32)  # (M, n, T, C, S, S)
    assert np.abs(first[:, :, 0] - first[:, :, 1]).max() > 1e-4
    assert (first == asked.score_by_dropout(keep_maps, indices, 3, seed=1)).all()
    assert (first != asked.score_by_dropout(keep_maps, indices, 3, seed=2)).any()
    after = asked.score_by_members(keep_maps, indices)
    assert (after == asked.score_by_members(keep_maps, indices)).all()


def test_dropout_passes_leave_batch_norm_and_the_global_generator_alone(images):
    networks = make_networks(1)
    before = {name: value.clone() for name, value in networks[0].state_dict().items()}
    torch_state = torch.get_rng_state()
    ask(images, networks).score_by_dropout(keep_maps, np.arange(4), 2, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in networks[0].state_dict().items())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(module.training for module in networks[0].modules())  # as it came: its copies predict


def test_without_dropout_passes_are_refused(images):
    networks = make_networks(1)
    for module in networks[0].modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with pytest.raises(BadInputError, match="dropout"):
        ask(images, networks).score_by_dropout(keep_maps, np.arange(2), 2, seed=0)


def test_features_are_the_best_members_deepest_map_averaged(images):
    networks = make_networks()
    features = ask(images, networks, best=1).bottleneck_features()
    assert features.shape == (SLICES, 256)
    with torch.inference_mode():
        deepest = networks[1].encoder(images[2:3].float() / 255)[-1][0]
    assert features[2] == pytest.approx(deepest.mean(dim=(1, 2)).numpy(), abs=1e-5)


def test_images_are_read_late_and_once(images):
    reads = []

    def read() -> torch.Tensor:
        reads.append(1)
        return images

    asked = Members(make_networks(1), read, CONFIG, CPU, lambda *_: None)
    assert reads == []
    asked.score_by_members(variance_ratio, np.arange(2))
    asked.bottleneck_features()
    assert reads == [1]


def test_what_progress_raises_stops_the_scoring(images):
    class Stop(Exception):
        pass

    def stop(done: int, total: int, message: str) -> None:
        assert (done, total, message) == (0, 2, "scoring slices")
        raise Stop

    with pytest.raises(Stop):
        Members(make_networks(1), lambda: images, CONFIG, CPU, stop).score_by_members(variance_ratio, np.arange(2))


def test_nobody_to_ask_and_other_sizes_are_refused(images):
    with pytest.raises(BadInputError, match="at least one"):
        Members([], lambda: images, CONFIG, CPU, lambda *_: None)
    with pytest.raises(ShapeError, match="images"):
        ask(images[..., :16, :16]).bottleneck_features()
