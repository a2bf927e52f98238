"""The encoder's shape and where its first weights come from."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from worker.learning.errors import WeightsError
from worker.learning.nets.encoder import ContrastiveEncoder, find_imagenet_weights, load_imagenet


@pytest.fixture(scope="module")
def published():
    """A state dict of the published form, its numbers random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet18(weights=None).state_dict()


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_512_and_embeddings_64_wide(channels):
    encoder = ContrastiveEncoder(channels).eval()
    images = torch.zeros(2, channels, 48, 48)
    assert encoder.features(images).shape == (2, 512)
    assert encoder(images).shape == (2, 64)


def test_the_head_is_two_layers_without_bias():
    head = ContrastiveEncoder(1).head
    assert [tuple(parameter.shape) for parameter in head.parameters()] == [(512, 512), (64, 512)]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_grey_picture_looks_as_it_would_in_colour(published, tmp_path, suffix):
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(published, path)
    else:
        save_file(published, path)
    grey, colour = ContrastiveEncoder(1).eval(), ContrastiveEncoder(3).eval()
    load_imagenet(grey, path, 1)
    load_imagenet(colour, path, 3)
    assert torch.allclose(grey.backbone.conv1.weight, published["conv1.weight"].sum(dim=1, keepdim=True))
    picture = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(grey.features(picture), colour.features(picture.repeat(1, 3, 1, 1)), rtol=1e-3, atol=1e-4)


def test_weights_are_found_where_they_are_said_to_be(published, tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))
    assert find_imagenet_weights(None) is None
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(published, path)
    assert find_imagenet_weights(None) == path
    assert find_imagenet_weights(path) == path
    with pytest.raises(WeightsError, match="no such file"):
        find_imagenet_weights(tmp_path / "elsewhere.pth")


def test_a_cached_download_is_found(published, tmp_path, monkeypatch):
    monkeypatch.delenv("NEXTSLICE_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir()
    torch.save(published, path)
    assert find_imagenet_weights(None) == path


def test_files_that_are_no_resnet_are_refused(published, tmp_path):
    encoder = ContrastiveEncoder(1)
    wrong = {name: tensor for name, tensor in published.items() if name != "layer4.1.conv2.weight"}
    cases = {
        "other.pth": (lambda path: torch.save({"a": torch.zeros(1)}, path), "no conv1.weight"),
        "part.pth": (lambda path: torch.save(wrong, path), "not a ResNet-18"),
        "list.pth": (lambda path: torch.save([1, 2], path), "not a dictionary of tensors"),
        "code.pth": (lambda path: torch.save(encoder, path), "plain torch weights"),
        "text.pth": (lambda path: path.write_text("hello"), "plain torch weights"),
        "text.safetensors": (lambda path: path.write_text("hello"), "safetensors file"),
    }
    for name, (write, reason) in cases.items():
        path = tmp_path / name
        write(path)
        with pytest.raises(WeightsError, match=reason):
            load_imagenet(encoder, path, 1)


def test_features_and_gradients_are_those_of_the_plain_resnet(published):
    encoder, plain = ContrastiveEncoder(3), resnet18(weights=None)
    encoder.backbone.load_state_dict({name: each for name, each in published.items() if not name.startswith("fc.")})
    plain.fc = nn.Identity()
    plain.load_state_dict(encoder.backbone.state_dict())
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ours, theirs = encoder.features(images), plain(images)
    assert torch.equal(ours, theirs)
    gradients = [
        torch.autograd.grad(features.square().sum(), list(network.parameters()))
        for features, network in ((ours, encoder.backbone), (theirs, plain))
    ]
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
