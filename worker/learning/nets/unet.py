"""The U-Net with one decoder or two (Ronneberger 2015; dual branch: Luo et al., MICCAI 2022, Section 2.1)."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from worker.learning.configs import SegmentationConfig
from worker.learning.nets.dropout import ElementDropout
from worker.learning.nets.pair import PairConvolution

WIDTHS = (16, 32, 64, 128, 256)  # channels a level; 1,813,764 and 2,447,064 parameters at 1 channel and 4 classes
ELEMENT_DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)  # one an encoder level; the decoders have none
CHANNEL_DROPOUT = 0.5  # of the auxiliary decoder's inputs


class UNet(nn.Module):
    """One encoder, one decoder: (B, channels, S, S) to logits (B, classes, S, S), S a multiple of 16.

    Whatever the encoder, it gives its maps finest first, and the last one is the bottleneck that strategies measure.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits (B, classes, S, S)."""
        logits: Tensor = self.decoder(self.encoder(images))
        return logits


class DualBranchUNet(UNet):
    """A U-Net with a second, auxiliary decoder that sees the encoder's maps through channel dropout.

    Called, it gives the main decoder's logits alone: prediction never needs the second. The channel dropout is active
    in training mode only; in the published code it also perturbs evaluation.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, auxiliary_decoder: nn.Module) -> None:
        super().__init__(encoder, decoder)
        self.auxiliary_decoder = auxiliary_decoder
        self.channel_dropout = nn.Dropout2d(CHANNEL_DROPOUT)

    def both_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits of the main and of the auxiliary decoder, each (B, classes, S, S)."""
        maps = self.encoder(images)
        perturbed = [self.channel_dropout(each) for each in maps]
        return self.decoder(maps), self.auxiliary_decoder(perturbed)


class Encoder(nn.Module):
    """Five levels of convolution blocks, halved in between; gives the five maps, finest first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            convolution_block(inputs, outputs, dropout)
            for (inputs, outputs), dropout in zip(pairwise((channels, *WIDTHS)), ELEMENT_DROPOUT, strict=True)
        )
        self.halve = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the maps (B, 16, S, S), (B, 32, S/2, S/2) ... (B, 256, S/16, S/16)."""
        maps: list[Tensor] = []
        for block in self.blocks:
            maps.append(block(self.halve(maps[-1]) if maps else images))
        return maps


class Decoder(nn.Module):
    """Four steps up from the bottleneck, each joined by the encoder's map of its size, and a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        steps = list(pairwise(reversed(WIDTHS)))
        self.narrow = nn.ModuleList(nn.Conv2d(wide, narrow, kernel_size=1) for wide, narrow in steps)
        self.blocks = nn.ModuleList(convolution_block(2 * narrow, narrow, dropout=0.0) for _, narrow in steps)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.join = JoinMaps()
        self.head = nn.Conv2d(WIDTHS[0], classes, kernel_size=3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give the logits (B, classes, S, S) of an encoder's five maps."""
        *skips, decoded = maps
        for narrow, block, skip in zip(self.narrow, self.blocks, reversed(skips), strict=True):
            enlarged = self.enlarge(narrow(decoded))
            # On a CPU a training is faster without joining them, a prediction with (its convolutions also activate).
            apart = enlarged.requires_grad and enlarged.device.type == "cpu"
            decoded = block((skip, enlarged) if apart else self.join(skip, enlarged))
        logits: Tensor = self.head(decoded)
        return logits


class JoinMaps(nn.Module):
    """Two maps of one size, channel behind channel; a layer so that `inference` may do it its own way."""

    def forward(self, skip: Tensor, enlarged: Tensor) -> Tensor:
        """Give (B, C + D, H, W) of (B, C, H, W) and (B, D, H, W)."""
        return torch.cat([skip, enlarged], dim=1)


def convolution_block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Give two 3x3 convolutions with batch norm and leaky ReLU, and elementwise dropout between them."""
    layers: list[nn.Module] = []
    for source in (inputs, outputs):
        convolution = PairConvolution(source, outputs, kernel_size=3, padding=1)
        # The batch norm cancels the bias, whose gradient would be the sum of a map to no end; it stays so that the
        # published parameter count holds.
        if convolution.bias is not None:
            convolution.bias.requires_grad = False
        layers += [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01, inplace=True)]
    if dropout > 0:
        layers.insert(3, ElementDropout(dropout))
    return nn.Sequential(*layers)


def build_network(state: Mapping[str, Tensor] | None, config: SegmentationConfig) -> UNet:
    """Give the network that `config` names, on the CPU, with the weights of `state` or fresh ones.

    Fresh weights come from torch's global generator; a caller that wants them repeatable seeds it
    (`seeding.seeded_initialisation`), and for a ResNet's encoder from where `config.start` says (WeightsMissingError,
    WeightsError). Raises RuntimeError when `state` belongs to another network.
    """
    parts = (
        _resnet_parts(config, fresh=state is None) if config.network.startswith("resnet50") else _plain_parts(config)
    )
    encoder, *decoders = parts
    network = DualBranchUNet(encoder, *decoders) if config.has_two_decoders else UNet(encoder, *decoders)
    if state is not None:
        network.load_state_dict(dict(state))
    return network


def _plain_parts(config: SegmentationConfig) -> tuple[nn.Module, ...]:
    decoders = (Decoder(config.classes) for _ in range(1 + config.has_two_decoders))
    return (Encoder(config.channels), *decoders)


def _resnet_parts(config: SegmentationConfig, *, fresh: bool) -> tuple[nn.Module, ...]:
    # Here and not above: importing torchvision takes a second that the plain network need not pay.
    from worker.learning.nets.pretrained import ResNetDecoder, ResNetEncoder, load_start

    encoder = ResNetEncoder()
    if fresh:
        load_start(encoder, config.start)
    decoders = (ResNetDecoder(config.classes) for _ in range(1 + config.has_two_decoders))
    return (encoder, *decoders)
