"""Predictions of one network and of an ensemble."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.learning.discs import draw_discs
from worker.learning import predict
from worker.learning.configs import SegmentationConfig
from worker.learning.errors import BadInputError, ShapeError
from worker.learning.intensity import nearest_sources, resize_nearest
from worker.learning.nets.unet import UNet, build_network
from worker.learning.predict import predict_probabilities, predict_volume, predict_with_uncertainty
from worker.learning.resize import resize_labels, uncertainty_in_native
from worker.learning.seeding import seeded_initialisation

CPU = torch.device("cpu")
CONFIG = SegmentationConfig(network="dmpls", classes=3, image_size=32, precision="float32")


def networks(count: int) -> list[UNet]:
    with seeded_initialisation(3):
        return [build_network(None, CONFIG) for _ in range(count)]


def test_ensemble_is_the_mean_of_its_members_on_the_same_planes() -> None:
    members = networks(3)
    images, _ = draw_discs(5, 32, 0)
    together = predict_probabilities(members, images, CONFIG, CPU)
    alone = torch.stack([predict_probabilities([member], images, CONFIG, CPU) for member in members])
    assert together.shape == (5, 3, 32, 32)
    assert together.dtype == torch.float32
    assert torch.allclose(together, alone.mean(dim=0), atol=1e-6)
    assert torch.allclose(together.sum(dim=1), torch.ones(5, 32, 32), atol=1e-5)


def test_prediction_does_not_depend_on_how_planes_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    members = networks(1)
    images, _ = draw_discs(5, 32, 0)
    whole = predict_probabilities(members, images, CONFIG, CPU)
    monkeypatch.setattr(predict, "CPU_BATCH_PIXELS", 2 * 32 * 32)
    assert torch.allclose(predict_probabilities(members, images, CONFIG, CPU), whole, atol=1e-6)


def test_networks_are_evaluated_without_dropout_and_put_back_as_they_were() -> None:
    members = networks(2)
    members[0].train()
    members[1].eval()
    images, _ = draw_discs(2, 32, 0)
    first, second = (predict_probabilities(members, images, CONFIG, CPU) for _ in range(2))
    assert torch.equal(first, second)
    assert [member.training for member in members] == [True, False]


def test_volume_comes_back_in_its_native_plane_size() -> None:
    members = networks(2)
    images, _ = draw_discs(4, 32, 1)
    labels = predict_volume(members, images, (45, 20), CONFIG, CPU)
    planes = predict_probabilities(members, images, CONFIG, CPU).argmax(dim=1).to(torch.uint8)
    assert (labels.shape, labels.dtype) == ((4, 45, 20), np.uint8)
    assert np.array_equal(labels, resize_nearest(planes.numpy(), (45, 20)))


def test_device_resizes_as_the_host_does() -> None:
    labels = torch.randint(0, 9, (3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for size in ((19, 50), (1, 33), (216, 154)):
        assert np.array_equal(resize_labels(labels, size).numpy(), resize_nearest(labels.numpy(), size))


def test_bytes_mean_the_same_as_unit_floats() -> None:
    members = networks(1)
    grey = torch.randint(0, 256, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = predict_probabilities(members, grey.float() / 255, CONFIG, CPU)
    assert torch.equal(predict_probabilities(members, grey, CONFIG, CPU), expected)


def test_volume_without_slices_gives_no_labels() -> None:
    assert predict_volume(networks(1), torch.zeros(0, 1, 32, 32), (9, 7), CONFIG, CPU).shape == (0, 9, 7)
    assert predict_probabilities(networks(1), torch.zeros(0, 1, 32, 32), CONFIG, CPU).shape == (0, 3, 32, 32)


def test_images_of_another_size_and_an_empty_ensemble_are_refused() -> None:
    with pytest.raises(ShapeError):
        predict_probabilities(networks(1), torch.zeros(1, 1, 48, 48), CONFIG, CPU)
    with pytest.raises(BadInputError, match="at least one"):
        predict_probabilities([], torch.zeros(1, 1, 32, 32), CONFIG, CPU)


@pytest.mark.parametrize("resize", ["nearest", "area"])
def test_uncertainty_is_the_entropy_of_the_mean_probabilities(resize: str) -> None:
    config = dataclasses.replace(CONFIG, resize=resize)
    members = networks(2)
    images = torch.rand(2, 1, 32, 32)
    labels, unsure = predict_with_uncertainty(members, images, (45, 20), config, CPU)
    assert np.array_equal(labels, predict_volume(members, images, (45, 20), config, CPU))
    probabilities = predict_probabilities(members, images, config, CPU)
    if resize == "area":
        probabilities = torch.nn.functional.interpolate(probabilities, (45, 20), mode="bilinear")
    for z, row, column in [(0, 0, 0), (1, 44, 19), (0, 17, 11), (1, 3, 7)]:
        if resize == "area":
            pixel = probabilities[z, :, row, column].tolist()
        else:
            pixel = probabilities[z, :, nearest_sources(32, 45)[row], nearest_sources(32, 20)[column]].tolist()
        entropy = -sum(share * math.log(share) for share in pixel if share > 0)
        assert abs(int(unsure[z, row, column]) - 255 * entropy / math.log(config.classes)) <= 0.51


def test_uncertainty_reaches_both_ends_of_its_scale() -> None:
    sure = torch.zeros(1, 4, 2, 2)
    sure[:, 1] = 1.0
    assert uncertainty_in_native(sure, (3, 3), "area").unique().tolist() == [0]
    assert uncertainty_in_native(torch.full((1, 4, 2, 2), 0.25), (3, 3), "nearest").unique().tolist() == [255]


def test_whoever_predicts_is_told_of_each_batch_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "CPU_BATCH_PIXELS", 2 * 32**2)
    images, _ = draw_discs(5, 32, 0)
    told: list[tuple[int, int]] = []
    predict_probabilities(networks(1), images, CONFIG, CPU, lambda done, total, _message: told.append((done, total)))
    assert told == [(0, 5), (2, 5), (4, 5)]

    def stop(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_with_uncertainty(networks(1), images, (32, 32), CONFIG, CPU, stop)
