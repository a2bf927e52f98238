"""A U-Net whose encoder is a ResNet-50 with pretrained weights: ImageNet's, or those of LVM-Med from a local file.

The shape is the one of the pretrained runs of Vepa et al., NeurIPS 2024 (Appendix A; a `segmentation_models` U-Net):
five encoder maps at 1/2 to 1/32 of the picture, five decoder steps by nearest neighbour with two convolutions each.
Grey pictures are shown three times, and nothing is scaled by ImageNet's mean and deviation, as there. Departures: the
deepest map passes through dropout of 0.5, as that of the plain U-Net does, or `bald` would have nothing to ask; and the
losses and the protocol are the plain U-Net's (there: cross entropy and a Dice loss without squares in its denominator,
gradients clipped to a norm of 1, Adam at 1e-4).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.learning.errors import WeightsError, WeightsMissingError
from worker.learning.nets.encoder import WEIGHTS_FOLDER, find_imagenet_weights, read_weights

MAP_WIDTHS = (64, 256, 512, 1024, 2048)  # channels of the encoder's maps, finest first
STEP_WIDTHS = (256, 128, 64, 32, 16)  # channels after each decoder step
DEEPEST_DROPOUT = 0.5
WEIGHT_SUFFIXES = {".pth", ".torch", ".pt", ".safetensors"}
WRAPPERS = ("module.", "backbone.", "encoder.", "model.")  # what trainers put before a ResNet's own names


class ResNetEncoder(nn.Module):
    """ResNet-50 without its head: (B, 1 or 3, S, S) to five maps, finest first, the last (B, 2048, S/32, S/32)."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        backbone = resnet50(weights=None)
        backbone.fc = nn.Identity()
        self.backbone: nn.Module = backbone
        self.dropout = nn.Dropout(DEEPEST_DROPOUT)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture."""
        net: Any = self.backbone  # torchvision's class names its layers, which nn.Module does not tell
        stem = net.relu(net.bn1(net.conv1(images.expand(-1, 3, -1, -1))))
        maps = [stem]
        deeper = net.maxpool(stem)
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            deeper = layer(deeper)
            maps.append(deeper)
        maps[-1] = self.dropout(maps[-1])
        return maps


class ResNetDecoder(nn.Module):
    """Five steps up from the deepest map, the first four joined by the encoder's map of their size, and a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        skips = (*reversed(MAP_WIDTHS[:-1]), 0)
        inputs = (MAP_WIDTHS[-1], *STEP_WIDTHS[:-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(*_convolution(source + skip, target), *_convolution(target, target))
            for source, skip, target in zip(inputs, skips, STEP_WIDTHS, strict=True)
        )
        self.head = nn.Conv2d(STEP_WIDTHS[-1], classes, kernel_size=3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give the logits (B, classes, S, S) of an encoder's five maps."""
        *skips, decoded = maps
        for block in self.blocks:
            decoded = functional.interpolate(decoded, scale_factor=2.0, mode="nearest")
            decoded = block(torch.cat([decoded, skips.pop()], dim=1) if skips else decoded)
        logits: Tensor = self.head(decoded)
        return logits


def load_start(encoder: ResNetEncoder, start: str) -> None:
    """Put the weights that `start` names ("imagenet", "lvm-med", "scratch") into a fresh encoder.

    Pickled code is never run. Raises WeightsMissingError where the file cannot be had, WeightsError where it is no
    ResNet-50; nothing stands in for it.
    """
    if start == "scratch":
        return
    path = find_imagenet_weights(None, "resnet50") if start == "imagenet" else _find_lvm_med()
    if path is None:
        if start == "imagenet":
            raise WeightsMissingError("ImageNet weights of a ResNet-50")
        raise WeightsMissingError("LVM-Med weights of a ResNet-50 (a file lvm*med*)", is_public=False)
    state = _bare_names(read_weights(path))
    try:
        encoder.backbone.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(path, "it is not a ResNet-50") from error


def _find_lvm_med() -> Path | None:
    folder = os.environ.get(WEIGHTS_FOLDER)
    if not folder:
        return None
    files = [path for path in Path(folder).glob("[lL][vV][mM]*[mM][eE][dD]*") if path.suffix in WEIGHT_SUFFIXES]
    return min(files, default=None)


def _bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a ResNet's weights under their own names, without its classifier and without a trainer's wrapping."""
    bare = {}
    for name, tensor in state.items():
        for wrapper in WRAPPERS:
            name = name.removeprefix(wrapper)  # noqa: PLW2901 - peeled layer by layer
        if not name.startswith("fc."):
            bare[name] = tensor
    return bare


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
