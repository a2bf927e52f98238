"""Elementwise dropout whose random numbers cost little on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEVELS = 2**16  # steps in which a rate is drawn
DRAWS = 4  # 16-bit numbers in one 64-bit one


class ElementDropout(nn.Dropout):
    """As `nn.Dropout`, from the global generator too; on a CPU each element takes 16 random bits instead of 64.

    torch's own kernel draws one element after the other on a single thread, a twelfth of a U-Net's step. The rate is
    met to within 2 ** -17.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Give `maps` with elements zeroed at rate `p` in training, the others divided by 1 - p; a dense tensor."""
        if not self.training or maps.device.type != "cpu" or not 0 < round(self.p * LEVELS) < LEVELS:
            return super().forward(maps)
        kept: Tensor = _KeepDrawn.apply(maps, self.p)
        return kept


class _KeepDrawn(torch.autograd.Function):
    """Zero or keep each element, with one mask in the type of the maps for both passes.

    Left to itself torch turns a mask of booleans into numbers at every use of it, which takes as long as the product.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, rate: float) -> Tensor:
        least = round(rate * LEVELS) - LEVELS // 2
        # 0 below `least` and 1 from it on, without booleans: making numbers of those takes five times as long.
        keep = draw_bits(maps).clamp_(least - 1, least).sub_(least - 1).to(maps.dtype)
        ctx.scale = 1 / (1 - rate)
        if maps.dtype == torch.float32:  # a half-wide mask would round the scale
            keep, ctx.scale = keep.mul_(ctx.scale), None
        ctx.save_for_backward(keep)
        return _scale(maps * keep, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _scale(gradient * keep, ctx.scale), None


def _scale(maps: Tensor, by: float | None) -> Tensor:
    return maps if by is None else maps.mul_(by)


def draw_bits(like: Tensor) -> Tensor:
    """Give uniform int16 numbers in the shape and layout of `like`, from the global generator."""
    wide = torch.empty(-(-like.numel() // DRAWS), dtype=torch.int64, device=like.device)
    wide.random_(torch.iinfo(torch.int64).min, None)
    return wide.view(torch.int16).as_strided(like.shape, like.stride())
