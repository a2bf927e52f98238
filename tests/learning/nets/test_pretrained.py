"""The U-Net on a ResNet-50: its shape, and where its first weights come from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet50

from worker.learning.configs import SegmentationConfig
from worker.learning.errors import ConfigError, WeightsError, WeightsMissingError
from worker.learning.nets.pretrained import ResNetEncoder, load_start
from worker.learning.nets.unet import DualBranchUNet, UNet, build_network
from worker.learning.query.members import Members
from worker.learning.seeding import seeded_initialisation
from worker.learning.shapes import LabelledSlices
from worker.learning.train import fit_segmentation

CPU = torch.device("cpu")
SCRATCH = SegmentationConfig(network="resnet50-unet", start="scratch", image_size=32, precision="float32")


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A state dict of torchvision's form, its numbers random."""
    with seeded_initialisation(0, "published"):
        return dict(resnet50(weights=None).state_dict())


@pytest.fixture(scope="module")
def network() -> DualBranchUNet:
    with seeded_initialisation(1, "network"):
        built = build_network(None, SegmentationConfig(network="resnet50-dmpls", start="scratch", image_size=32))
    assert isinstance(built, DualBranchUNet)
    return built


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_of_the_published_network(network: DualBranchUNet) -> None:
    # 32,521,105 with one class, as `segmentation_models_pytorch` has it; three more classes are 3 (16 * 9 + 1).
    assert count(network.encoder) + count(network.decoder) == 32_521_105 + 3 * 145
    assert count(network.auxiliary_decoder) == count(network.decoder)


def test_logits_have_the_size_of_the_image_and_grey_looks_as_in_colour(network: DualBranchUNet) -> None:
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        main, auxiliary = network.eval().both_logits(grey)
        assert main.shape == auxiliary.shape == (2, 4, 64, 64)
        assert torch.allclose(main, network(grey.repeat(1, 3, 1, 1)), atol=1e-4)
        assert [tuple(each.shape[1:]) for each in network.encoder(grey)] == [
            (64, 32, 32),
            (256, 16, 16),
            (512, 8, 8),
            (1024, 4, 4),
            (2048, 2, 2),
        ]


@pytest.mark.parametrize("start", ["imagenet", "lvm-med"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_the_folder(
    published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, suffix: str
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))
    if start == "imagenet":
        path, state = tmp_path / f"resnet50-11ad3fa6{suffix}", published
    else:  # published without a head, as a trainer saved it
        path = tmp_path / f"lvmmed_resnet{suffix}"
        state = {f"module.encoder.{name}": tensor for name, tensor in published.items() if not name.startswith("fc.")}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    encoder = ResNetEncoder()
    load_start(encoder, start)
    kept = encoder.backbone.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in published.items() if not name.startswith("fc."))


def test_without_weights_the_training_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))
    for start, sentence in (
        ("imagenet", "ImageNet weights of a ResNet-50 are neither in the folder NEXTSLICE_WEIGHTS"),
        ("lvm-med", "LVM-Med weights .* never downloaded"),
    ):
        with pytest.raises(WeightsMissingError, match=sentence):
            build_network(None, SegmentationConfig(network="resnet50-unet", start=start))


def test_files_that_are_no_resnet50_or_hold_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor]
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))
    path = tmp_path / "resnet50-other.pth"
    torch.save({name: tensor for name, tensor in published.items() if name != "layer4.2.bn3.weight"}, path)
    with pytest.raises(WeightsError, match="not a ResNet-50"):
        load_start(ResNetEncoder(), "imagenet")
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(WeightsError, match="plain torch weights"):
        load_start(ResNetEncoder(), "imagenet")


def test_stored_weights_need_no_pretrained_file(
    network: DualBranchUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))
    config = SegmentationConfig(network="resnet50-dmpls", start="imagenet", image_size=32)
    copy = build_network(network.state_dict(), config)
    assert torch.equal(copy.decoder.head.weight, network.decoder.head.weight)


def test_it_trains_and_answers_the_strategies() -> None:
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0] > 0.5).to(torch.uint8)
    config = SegmentationConfig(
        **(SCRATCH.__dict__ | {"classes": 2, "iterations": 1, "batch_size": 2, "learning_rate": 1e-5})
    )
    fitted = fit_segmentation(LabelledSlices(images, labels), [], config, 0, lambda *_: None, CPU)
    member = build_network(fitted.state, config)
    assert isinstance(member, UNet)
    members = Members([member], lambda: images, config, CPU, lambda *_: None)
    assert members.bottleneck_features().shape == (2, 2048)

    def spread(maps: object) -> Tensor:
        return torch.stack(list(maps)).std(dim=0).mean(dim=(1, 2, 3))  # type: ignore[call-overload]

    scores = members.score_by_dropout(spread, np.arange(2), passes=3, seed=0)
    assert (scores > 0).all(), "dropout must reach the prediction, or BALD would ask nothing"


def test_a_resnet_sees_multiples_of_32() -> None:
    with pytest.raises(ConfigError, match="multiple of 32"):
        SegmentationConfig(network="resnet50-unet", image_size=48)
