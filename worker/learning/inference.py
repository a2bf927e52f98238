"""A trained network made ready to predict: batch norm folded into its convolutions, half-wide where that pays."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
        self.network.to(device=device, dtype=self._type)
        self.network.to(memory_format=torch.channels_last)

    def forward(self, planes: Tensor) -> Tensor:
        """Give the softmax (B, C, S, S) in float32, one plane a class, of unit floats (B, 1 or 3, S, S)."""
        logits: Tensor = self.network(planes.to(self._type).contiguous(memory_format=torch.channels_last))
        # What follows goes class by class, and in channels-last each class would be every C-th number.
        return logits.contiguous().float().softmax(dim=1)


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
