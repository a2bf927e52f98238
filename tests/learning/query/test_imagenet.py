"""ImageNet features: those from which the contrastive encoder starts, or a refusal."""

import pytest
import torch
from torchvision.models import resnet18

from worker.learning.configs import EncoderConfig
from worker.learning.errors import WeightsMissingError
from worker.learning.query.imagenet import embed_by_imagenet
from worker.learning.seeding import seeded_initialisation

CONFIG = EncoderConfig(image_size=32)
CPU = torch.device("cpu")


def test_features_are_those_of_a_plain_resnet_on_the_grey_picture_as_rgb(tmp_path):
    with seeded_initialisation(0, "resnet"):
        network = resnet18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    features = embed_by_imagenet(lambda: images, CONFIG, CPU, tmp_path / "resnet18.pth")
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = network(images.repeat(1, 3, 1, 1))
    assert features.shape == (5, 512)
    assert features == pytest.approx(expected.numpy(), abs=1e-4)


def test_without_weights_it_is_refused_before_any_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))

    def explode() -> torch.Tensor:
        raise AssertionError("read too early")

    with pytest.raises(WeightsMissingError, match="ImageNet weights of a ResNet-18 are neither in"):
        embed_by_imagenet(explode, CONFIG, CPU)
