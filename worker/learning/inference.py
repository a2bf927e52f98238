"""A trained network made ready to predict: batch norm folded into its convolutions, half-wide where that pays."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from worker.learning.memory import keep_freed_memory
from worker.learning.nets.unet import JoinMaps
from worker.learning.precision import uses_bfloat16


class ReadyNetwork(nn.Module):
    """A copy of a segmentation network that only predicts; the network itself stays as it is, its mode too.

    Weights are cast once instead of at every call, as autocast does; layout is channels-last. It gives what the network
    gives in evaluation mode but for rounding: of float32, or of bfloat16 where `precision` means that on `device`.
    """

    def __init__(self, network: nn.Module, precision: str, device: torch.device) -> None:
        super().__init__()
        self._type = torch.bfloat16 if uses_bfloat16(precision, device) else torch.float32
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        fold_batch_norms(self.network)
        if device.type == "cpu":
            keep_freed_memory()
            quicken_layers(self.network)
        self.network.to(device=device, dtype=self._type)
        self.network.to(memory_format=torch.channels_last)

    def forward(self, planes: Tensor) -> Tensor:
        """Give the softmax (B, C, S, S) in float32, one plane a class, of unit floats (B, 1 or 3, S, S)."""
        logits: Tensor = self.network(planes.to(self._type).contiguous(memory_format=torch.channels_last))
        # What follows goes class by class, and in channels-last each class would be every C-th number.
        return logits.contiguous().float().softmax(dim=1)


class Halve(nn.Module):
    """Max pooling of 2 x 2 as two maxima: the same numbers, three times as fast as `max_pool2d` in channels-last."""

    def forward(self, maps: Tensor) -> Tensor:
        """Give (B, C, H/2, W/2) of (B, C, H, W), H and W even."""
        rows = torch.maximum(maps[:, :, ::2], maps[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


class Enlarge(nn.Module):
    """Bilinear x 2 with aligned corners, computed in float32: faster than on bfloat16, and less is rounded."""

    def forward(self, maps: Tensor) -> Tensor:
        """Give (B, C, 2H, 2W) of (B, C, H, W)."""
        large = functional.interpolate(maps.float(), scale_factor=2, mode="bilinear", align_corners=True)
        return large.to(maps.dtype)


class Join(nn.Module):
    """Two channels-last maps, channel behind channel, by two copies: `cat` takes twice as long there."""

    def forward(self, skip: Tensor, enlarged: Tensor) -> Tensor:
        """Give (B, C + D, H, W) of (B, C, H, W) and (B, D, H, W)."""
        count, channels, height, width = skip.shape
        size = (count, channels + enlarged.shape[1], height, width)
        joined = torch.empty(size, dtype=skip.dtype, memory_format=torch.channels_last)
        joined[:, :channels].copy_(skip)
        joined[:, channels:].copy_(enlarged)
        return joined


class ActivatedConvolution(nn.Module):
    """A convolution whose leaky ReLU is taken while oneDNN has the result in hand, not in a pass of its own.

    It takes three hundredths off a prediction, more where memory is slow. The operator is the one that torch's own
    compiler puts in this place; half-wide it rounds once where the two layers round twice.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.LeakyReLU) -> None:
        super().__init__()
        self.convolution = convolution
        self.slope = activation.negative_slope

    def forward(self, maps: Tensor) -> Tensor:
        """Give what the convolution and the activation behind it give."""
        of = self.convolution
        activated: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, of.weight, of.bias, of.padding, of.stride, of.dilation, of.groups, "leaky_relu", [self.slope], ""
        )
        return activated


def quicken_layers(network: nn.Module) -> None:
    """Put layers that give the same faster on a CPU in the place of the ordinary ones; for prediction alone."""
    if hasattr(torch.ops.mkldnn, "_convolution_pointwise"):  # only where torch was built with oneDNN
        activate_convolutions(network)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.MaxPool2d) and (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0):
                setattr(parent, name, Halve())
            elif isinstance(layer, nn.Upsample):
                setattr(parent, name, Enlarge())
            elif isinstance(layer, JoinMaps):
                setattr(parent, name, Join())


def activate_convolutions(network: nn.Module) -> None:
    """Join each convolution with the leaky ReLU behind it, past what folding left in between; only within sequences."""
    for parent in [each for each in network.modules() if isinstance(each, nn.Sequential)]:
        layers = [(name, layer) for name, layer in parent.named_children() if not isinstance(layer, nn.Identity)]
        for (name, layer), (behind, activation) in pairwise(layers):
            if isinstance(layer, nn.Conv2d) and isinstance(activation, nn.LeakyReLU) and layer.padding_mode == "zeros":
                setattr(parent, name, ActivatedConvolution(layer, activation))
                setattr(parent, behind, nn.Identity())


def make_ready(networks: Iterable[nn.Module], precision: str, device: torch.device) -> list[ReadyNetwork]:
    """Give the networks ready to predict; what is ready already stays, so that it is folded once for many volumes."""
    return [
        network if isinstance(network, ReadyNetwork) else ReadyNetwork(network, precision, device)
        for network in networks
    ]


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm that stands right behind a convolution, in place; the network must be in evaluation mode.

    Behind means in the order of registration, which is the order of calls in every network here and in torchvision's
    ResNets; tests hold each folded network equal to itself unfolded.
    """
    for parent in list(network.modules()):
        for (name, layer), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, cast(nn.Module, fuse_conv_bn_eval(layer, norm)))
                setattr(parent, norm_name, nn.Identity())
