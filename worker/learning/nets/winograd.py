"""3x3 convolutions by Winograd's minimal filtering, for training where a CPU has no bfloat16.

F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), Section 4: a tile of
4 x 4 outputs takes 36 products a pair of channels instead of 144. Tiles of 6 x 6 inputs, which share two rows and
columns with the next tile, and kernels are brought into 36 positions; in each of them all tiles and channels are one
matrix product; the way back gives the outputs. All three ways are linear, so the gradients go by their transposes in
reverse order, and the positions of the outputs' gradient serve both. Results and gradients differ from the library's by
float32's rounding, about 1e-5 of the largest.

The work goes row of tiles by row of tiles through memory that stays in the cache. Maps are (B, C, H, W) channels-last
outside, (row, column of a tile, B, W / 4, C) inside: every step is then a product of a small matrix with long rows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from worker.learning.nets.pair import Maps, PairConvolution
from worker.learning.precision import uses_bfloat16

OUTPUTS, INPUTS = 4, 6  # of a tile, a side
POSITIONS = INPUTS**2
# Lavin and Gray's B^T, G and A^T, from the points 0, 1, -1, 2, -2 and infinity.
TILE_TO_POSITIONS = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL_TO_POSITIONS = torch.tensor(
    [[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
).div(24)
POSITIONS_TO_OUTPUTS = torch.tensor(
    [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)
SUM = 1 * INPUTS + 1  # the position whose coefficients are all 1: there a tile of gradients is its sum
# Positions are kept in two parts, so that those of 512 x 512 kernels stay below what the C library maps anew each time.
PARTS = (slice(0, POSITIONS // 2), slice(POSITIONS // 2, POSITIONS))
# Where it pays (docs/speed.md): it saves in proportion to inputs x outputs and costs in proportion to inputs + outputs.
LEAST_CHANNELS = {"AVX512": 60.0, "AVX2": 30.0}  # least inputs * outputs / (inputs + outputs); elsewhere not measured
LEAST_PIXELS = 512  # of all maps of a batch; below, the kernels' own way costs more than is saved
MOST_THREADS = 4  # measured on two; the pieces are too small to be shared out among many


class WinogradConvolution(PairConvolution):
    """A `PairConvolution` whose passes in training go by minimal filtering, where maps are such that it pays."""

    def forward(self, input: Maps) -> Tensor:  # noqa: A002  # the name is nn.Conv2d's
        """Give what `PairConvolution` gives, but for rounding; its gradient has none of its own."""
        maps = (input,) if isinstance(input, Tensor) else input
        if not (torch.is_grad_enabled() and self.training and _fits(maps[0])):
            return super().forward(input)
        convolved: Tensor = _MinimalFiltering.apply(self.weight, self.bias, *maps)
        return convolved


def take_winograd(network: nn.Module, precision: str, device: torch.device) -> None:
    """Put `WinogradConvolution` in the place of the convolutions of `network` that are trained the faster for it.

    None are where `device` is no CPU or `precision` means bfloat16. Names and parameters stay what they were.
    """
    least = LEAST_CHANNELS.get(torch.backends.cpu.get_cpu_capability(), math.inf)
    if device.type != "cpu" or uses_bfloat16(precision, device) or torch.get_num_threads() > MOST_THREADS:
        return
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            # By type: another subclass convolves in a way of its own.
            if type(layer) is not nn.Conv2d and type(layer) is not PairConvolution:
                continue
            if _is_plain(layer) and _channels(layer) >= least:
                quick = WinogradConvolution(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
                quick.weight, quick.bias = layer.weight, layer.bias
                setattr(parent, name, quick.train(layer.training))


def _is_plain(layer: nn.Conv2d) -> bool:
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return sizes == ((3, 3), (1, 1), (1, 1), (1, 1)) and layer.groups == 1 and layer.padding_mode == "zeros"


def _channels(layer: nn.Conv2d) -> float:
    return layer.in_channels * layer.out_channels / (layer.in_channels + layer.out_channels)


def _fits(maps: Tensor) -> bool:
    """Tell whether (B, C, H, W) maps can be tiled and are enough for it to pay."""
    batch, _, height, width = maps.shape
    return (
        maps.dtype == torch.float32
        and maps.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and height % OUTPUTS == width % OUTPUTS == 0
        and batch * height * width >= LEAST_PIXELS
    )


class _MinimalFiltering(torch.autograd.Function):
    """Convolution of (B, C, H, W), or of several that stand channel behind channel, with (K, C, 3, 3), zeros around."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *given: Tensor) -> Tensor:
        maps = [each.contiguous(memory_format=torch.channels_last) for each in given]
        kernels = kernels_to_positions(weight)
        ctx.save_for_backward(*kernels, *maps)
        ctx.has_bias = bias is not None
        (batch, _, height, width), outputs = maps[0].shape, len(weight)
        convolved = torch.empty((batch, outputs, height, width), memory_format=torch.channels_last)
        rows, tiles = _by_column(convolved), _TileRows([_by_column(each) for each in maps])
        products = weight.new_empty(POSITIONS, tiles.count, outputs)
        half_way, columns = weight.new_empty(OUTPUTS, INPUTS, tiles.count * outputs), _empty_like_rows(rows)
        back, no_bias = POSITIONS_TO_OUTPUTS.expand(OUTPUTS, -1, -1), weight.new_zeros(())
        for top in range(0, len(rows), OUTPUTS):
            positions = tiles.read(top)
            for part, kernel in zip(PARTS, kernels, strict=True):
                torch.bmm(positions[part], kernel.transpose(1, 2), out=products[part])
            torch.mm(POSITIONS_TO_OUTPUTS, products.view(INPUTS, -1), out=half_way.view(OUTPUTS, -1))
            torch.bmm(back, half_way, out=columns.view(OUTPUTS, OUTPUTS, -1))
            torch.add(columns, no_bias if bias is None else bias, out=rows[top : top + OUTPUTS])
        return convolved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels, maps = ctx.saved_tensors[: len(PARTS)], ctx.saved_tensors[len(PARTS) :]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        outputs = gradient.shape[1]
        rows, tiles = _by_column(gradient), _TileRows([_by_column(each) for each in maps])
        columns, half_way = _empty_like_rows(rows), gradient.new_empty(OUTPUTS, INPUTS, tiles.count * outputs)
        positions = gradient.new_empty(POSITIONS, tiles.count, outputs)
        there = POSITIONS_TO_OUTPUTS.T.expand(OUTPUTS, -1, -1)
        to_kernels = [torch.zeros_like(kernel) for kernel in kernels]
        to_bias = gradient.new_zeros(outputs) if ctx.has_bias else None
        to_maps = [torch.empty_like(each) for each in maps] if any(ctx.needs_input_grad[2:]) else []
        tile_sum = _TileSum([_by_column(each) for each in to_maps]) if to_maps else None
        for top in range(0, len(rows), OUTPUTS):
            columns.copy_(rows[top : top + OUTPUTS])
            torch.bmm(there, columns.view(OUTPUTS, OUTPUTS, -1), out=half_way)
            torch.mm(POSITIONS_TO_OUTPUTS.T, half_way.view(OUTPUTS, -1), out=positions.view(INPUTS, -1))
            tiles_there = tiles.read(top)
            for part, to_kernel in zip(PARTS, to_kernels, strict=True):
                to_kernel.baddbmm_(positions[part].transpose(1, 2), tiles_there[part])
            if to_bias is not None:
                to_bias += positions[SUM].sum(dim=0)
            if tile_sum is not None:
                for part, kernel in zip(PARTS, kernels, strict=True):
                    torch.bmm(positions[part], kernel, out=tile_sum.positions[part])
                tile_sum.add(top)
        unwanted: list[Tensor | None] = [None] * len(maps)
        return positions_to_kernels(to_kernels), to_bias, *(to_maps or unwanted)


def _by_column(maps: Tensor) -> Tensor:
    """View channels-last (B, C, H, W) as (H, column of a tile, B, W / 4, C)."""
    batch, channels, height, width = maps.shape
    by_tile = maps.permute(2, 3, 0, 1).view(height, width // OUTPUTS, OUTPUTS, batch, channels)
    return by_tile.permute(0, 2, 3, 1, 4)


def _empty_like_rows(rows: Tensor) -> Tensor:
    return rows.new_empty(OUTPUTS, *rows.shape[1:])


class _TileRows:
    """The tiles of maps (see `_by_column`), brought into their positions one row of tiles after the other."""

    def __init__(self, maps: list[Tensor]) -> None:
        self._maps, (self._height, _, *between, _) = maps, maps[0].shape
        self._widths = [each.shape[-1] for each in maps]
        channels = sum(self._widths)
        self.count = math.prod(between)
        # What stays zero is what lies around the maps: the outer tiles' first and last column, the first row.
        self._columns = maps[0].new_zeros(OUTPUTS, INPUTS, *between, channels)
        self._window = maps[0].new_zeros(INPUTS, INPUTS, self.count * channels)
        self._positions = maps[0].new_empty(POSITIONS, self.count, channels)
        self._take(0, 1, into=1)

    def read(self, top: int) -> Tensor:
        """Give (36, tiles, C), the positions of the tiles whose first output row is `top`; rows come in order."""
        if top:
            self._window[:2] = self._window[OUTPUTS:]
        last = min(top + OUTPUTS + 1, self._height)
        self._take(top + 1, last, into=2)
        if last == self._height:
            self._window[-1] = 0
        torch.mm(TILE_TO_POSITIONS, self._window.view(INPUTS, -1), out=self._positions.view(INPUTS, -1))
        return self._positions

    def _take(self, first: int, last: int, into: int) -> None:
        count = last - first
        columns = self._columns[:count]
        for each, taken in zip(self._maps, torch.split(columns, self._widths, dim=-1), strict=True):
            taken[:, 1:5] = each[first:last]
        columns[:, 0, :, 1:] = columns[:, 4, :, :-1]
        columns[:, 5, :, :-1] = columns[:, 1, :, 1:]
        there = TILE_TO_POSITIONS.expand(count, -1, -1)
        torch.bmm(there, columns.view(count, INPUTS, -1), out=self._window[into : into + count])


class _TileSum:
    """The transpose of `_TileRows`: the gradients of maps from that of their positions, added up where tiles meet."""

    def __init__(self, gradients: list[Tensor]) -> None:
        self._gradients, (self._height, _, *between, _) = gradients, gradients[0].shape
        self._widths = [each.shape[-1] for each in gradients]
        channels, count = sum(self._widths), math.prod(between)
        self.positions = gradients[0].new_empty(POSITIONS, count, channels)  # to be filled before each `add`
        self._window = gradients[0].new_zeros(INPUTS, INPUTS, count * channels)
        self._columns = gradients[0].new_empty(OUTPUTS, INPUTS, *between, channels)

    def add(self, top: int) -> None:
        """Add what `positions` holds, of the tiles whose first output row is `top`; rows come in order."""
        if top:
            self._window[:2] = self._window[OUTPUTS:]
            self._window[2:] = 0
        self._window.view(INPUTS, -1).addmm_(TILE_TO_POSITIONS.T, self.positions.view(INPUTS, -1))
        # Two rows wait for the tiles below them; the first of all lies outside the maps, and so does the last.
        if top:
            self._give(top - 1, self._window[:OUTPUTS])
        else:
            self._give(0, self._window[1:OUTPUTS])
        if top + OUTPUTS == self._height:
            self._give(self._height - 1, self._window[OUTPUTS:-1])

    def _give(self, first: int, window: Tensor) -> None:
        count = len(window)
        columns = self._columns[:count]
        back = TILE_TO_POSITIONS.T.expand(count, -1, -1)
        torch.bmm(back, window, out=columns.view(count, INPUTS, -1))
        columns[:, 4, :, :-1] += columns[:, 0, :, 1:]
        columns[:, 1, :, 1:] += columns[:, 5, :, :-1]
        for each, given in zip(self._gradients, torch.split(columns, self._widths, dim=-1), strict=True):
            each[first : first + count] = given[:, 1:5]


def kernels_to_positions(weight: Tensor) -> list[Tensor]:
    """Give (18, K, C) twice, the positions of (K, C, 3, 3) kernels in two parts."""
    outputs, inputs = weight.shape[:2]
    half_way = torch.mm(KERNEL_TO_POSITIONS, weight.permute(2, 3, 0, 1).reshape(3, -1)).view(INPUTS, 3, -1)
    parts = [weight.new_empty(INPUTS // 2, INPUTS, outputs * inputs) for _ in PARTS]
    for line, position in zip(half_way, (each for part in parts for each in part), strict=True):
        torch.mm(KERNEL_TO_POSITIONS, line, out=position)
    return [part.view(-1, outputs, inputs) for part in parts]


def positions_to_kernels(parts: list[Tensor]) -> Tensor:
    """Give (K, C, 3, 3), channels-last: the transpose of `kernels_to_positions`."""
    outputs, inputs = parts[0].shape[1:]
    half_way = parts[0].new_empty(INPUTS, 3, outputs * inputs)
    positions = (each for part in parts for each in part.view(-1, INPUTS, outputs * inputs))
    for position, line in zip(positions, half_way, strict=True):
        torch.mm(KERNEL_TO_POSITIONS.T, position, out=line)
    kernels = torch.mm(KERNEL_TO_POSITIONS.T, half_way.view(INPUTS, -1))
    return kernels.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)
