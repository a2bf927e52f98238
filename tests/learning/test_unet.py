"""The U-Net with one decoder or two."""

import pytest
import torch

from worker.learning.configs import SegmentationConfig
from worker.learning.nets.pair import PairConvolution
from worker.learning.nets.unet import DualBranchUNet, build_network
from worker.learning.seeding import seeded_initialisation


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "expected"), [("unet", 1_813_764), ("dmpls", 2_447_064)])
def test_parameters_are_those_of_the_paper(name: str, expected: int) -> None:
    network = build_network(None, SegmentationConfig(network=name, channels=1, classes=4))
    assert count(network) == expected


@pytest.mark.parametrize("name", ["unet", "dmpls"])
def test_what_is_not_trained_changes_nothing_in_training(name: str) -> None:
    with seeded_initialisation(0, "test"):
        network = build_network(None, SegmentationConfig(network=name, image_size=32)).double().train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout | torch.nn.Dropout2d):
            layer.p = 0.0
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def answer() -> torch.Tensor:
        return torch.stack(network.both_logits(images)) if isinstance(network, DualBranchUNet) else network(images)

    before = answer()
    fixed = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    blocks = 5 + 4 * (2 if name == "dmpls" else 1)
    assert len(fixed) == 2 * blocks
    for bias in fixed:
        assert bias.ndim == 1
        bias.data.add_(1.0)
    torch.testing.assert_close(answer(), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["unet", "dmpls"])
@pytest.mark.parametrize(("channels", "classes", "size"), [(1, 2, 32), (3, 7, 48), (1, 255, 32)])
def test_logits_have_the_size_of_the_image(name: str, channels: int, classes: int, size: int) -> None:
    config = SegmentationConfig(network=name, channels=channels, classes=classes, image_size=size)
    network = build_network(None, config)
    images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    assert network(images).shape == (2, classes, size, size)
    if isinstance(network, DualBranchUNet):
        assert [logits.shape for logits in network.both_logits(images)] == [(2, classes, size, size)] * 2


def test_only_the_encoder_has_element_dropout_with_the_published_rates() -> None:
    network = build_network(None, SegmentationConfig(network="dmpls"))
    assert isinstance(network, DualBranchUNet)
    rates = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert network.channel_dropout.p == 0.5


def test_channel_dropout_reaches_all_five_maps_in_training_only() -> None:
    network = build_network(None, SegmentationConfig(network="dmpls"))
    assert isinstance(network, DualBranchUNet)
    seen: list[list[torch.Tensor]] = []
    for decoder in (network.decoder, network.auxiliary_decoder):
        decoder.register_forward_pre_hook(lambda _, maps: seen.append(maps[0]))
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    network.train().both_logits(images)
    for plain, perturbed in zip(*seen, strict=True):
        dropped = (perturbed == 0).flatten(2).all(dim=2)
        assert 0 < dropped.float().mean() < 1
        assert torch.equal(perturbed[~dropped], 2 * plain[~dropped])
    seen.clear()
    network.eval().both_logits(images)
    assert all(torch.equal(plain, same) for plain, same in zip(*seen, strict=True))
    with torch.no_grad():
        first, second = network.both_logits(images), network.both_logits(images)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_called_network_answers_with_its_main_decoder() -> None:
    network = build_network(None, SegmentationConfig(network="dmpls")).eval()
    assert isinstance(network, DualBranchUNet)
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), network.both_logits(images)[0])


def test_built_from_a_state_answers_like_its_source() -> None:
    config = SegmentationConfig(network="unet", image_size=32)
    with seeded_initialisation(1):
        source = build_network(None, config).eval()
    copy = build_network(source.state_dict(), config).eval()
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(source(images), copy(images))


def test_state_of_another_network_is_refused() -> None:
    state = build_network(None, SegmentationConfig(network="dmpls")).state_dict()
    with pytest.raises(RuntimeError, match="auxiliary_decoder"):
        build_network(state, SegmentationConfig(network="unet"))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_a_decoder_is_that_of_the_plain_concatenation(
    monkeypatch: pytest.MonkeyPatch, layout: torch.memory_format
) -> None:
    network = build_network(None, SegmentationConfig()).eval().to(memory_format=layout)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)

    def gradients() -> list[torch.Tensor]:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return list(torch.autograd.grad(network(images).square().sum(), trained))

    apart, plainly = gradients(), PairConvolution.forward
    monkeypatch.setattr(
        PairConvolution,
        "forward",
        lambda layer, maps: plainly(layer, maps if isinstance(maps, torch.Tensor) else torch.cat(maps, dim=1)),
    )
    for ours, joined in zip(apart, gradients(), strict=True):
        torch.testing.assert_close(ours, joined)
