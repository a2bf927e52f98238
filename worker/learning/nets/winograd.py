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
from torch.nn import functional

from worker.learning.nets.pair import Maps, PairConvolution
from worker.learning.precision import uses_bfloat16

OUTPUTS, INPUTS = 4, 6  # of a tile, a side
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
SUM = (1, 1)  # the position whose coefficients are all 1: there a tile of gradients is its sum
ROW_BYTES = 2**21  # of the positions of one row of tiles
# Where it pays (docs/speed.md): it saves in proportion to inputs x outputs and costs in proportion to inputs + outputs.
LEAST_CHANNELS = {"AVX512": 60.0, "AVX2": 16.0}  # least inputs * outputs / (inputs + outputs); elsewhere not measured
LEAST_FORWARD = 30.0  # below, the backward pass alone is the faster: one transform serves both gradients
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
    least = _least_channels()
    if device.type != "cpu" or uses_bfloat16(precision, device) or torch.get_num_threads() > MOST_THREADS:
        return
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            # By type: another subclass convolves in a way of its own.
            if type(layer) is not nn.Conv2d and type(layer) is not PairConvolution:
                continue
            if _is_plain(layer) and _count_channels(layer.in_channels, layer.out_channels) >= least:
                quick = WinogradConvolution(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
                quick.weight, quick.bias = layer.weight, layer.bias
                setattr(parent, name, quick.train(layer.training))


def _least_channels() -> float:
    width = torch.backends.cpu.get_cpu_capability()
    # There MKL multiplies matrices with AVX2, at less than half the rate of oneDNN's convolutions with AVX-512.
    if width == "AVX512" and str(torch.cpu.get_capabilities().get("cpu_name")).startswith("AMD"):
        return math.inf
    return LEAST_CHANNELS.get(width, math.inf)


def _is_plain(layer: nn.Conv2d) -> bool:
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return sizes == ((3, 3), (1, 1), (1, 1), (1, 1)) and layer.groups == 1 and layer.padding_mode == "zeros"


def _count_channels(inputs: int, outputs: int) -> float:
    return inputs * outputs / (inputs + outputs)


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


def _convolve_plainly(maps: list[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    first, *others = torch.split(weight, [each.shape[1] for each in maps], dim=1)
    convolved = functional.conv2d(maps[0], first, bias, padding=1)
    for each, part in zip(maps[1:], others, strict=True):
        convolved += functional.conv2d(each, part, padding=1)
    return convolved


class _MinimalFiltering(torch.autograd.Function):
    """Convolution of (B, C, H, W), or of several that stand channel behind channel, with (K, C, 3, 3), zeros around."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *given: Tensor) -> Tensor:
        maps = [each.contiguous(memory_format=torch.channels_last) for each in given]
        ctx.save_for_backward(weight, *maps)
        if _count_channels(*weight.shape[:2]) < LEAST_FORWARD:
            return _convolve_plainly(maps, weight, bias)
        (batch, _, height, width), (outputs, inputs) = maps[0].shape, weight.shape[:2]
        strips = count_strips(batch, height, width, inputs, outputs)
        convolved = torch.empty((batch, outputs, height, width), memory_format=torch.channels_last)
        rows, tiles = _by_strip(convolved, strips), _TileRows([_by_strip(each, strips) for each in maps])
        kernels = _Kernels(weight, kept=len(rows) > OUTPUTS)
        products = weight.new_empty(INPUTS, INPUTS, tiles.count, outputs)
        half_way, columns = weight.new_empty(OUTPUTS, INPUTS, tiles.count * outputs), _empty_like_rows(rows)
        back, no_bias = POSITIONS_TO_OUTPUTS.expand(OUTPUTS, -1, -1), weight.new_zeros(())
        for top in range(0, len(rows), OUTPUTS):
            positions = tiles.read(top)
            for line in range(INPUTS):
                torch.bmm(positions[line], kernels.line(line).transpose(1, 2), out=products[line])
            torch.mm(POSITIONS_TO_OUTPUTS, products.view(INPUTS, -1), out=half_way.view(OUTPUTS, -1))
            torch.bmm(back, half_way, out=columns.view(OUTPUTS, OUTPUTS, -1))
            torch.add(columns, no_bias if bias is None else bias, out=rows[top : top + OUTPUTS])
        return convolved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *maps = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        (batch, outputs, height, width), inputs = gradient.shape, weight.shape[1]
        strips = count_strips(batch, height, width, inputs, outputs)
        rows, tiles = _by_strip(gradient, strips), _TileRows([_by_strip(each, strips) for each in maps])
        kernels = _Kernels(weight, kept=len(rows) > OUTPUTS)
        kernel_sum = _KernelSum(weight)
        columns, half_way = _empty_like_rows(rows), gradient.new_empty(OUTPUTS, INPUTS, tiles.count * outputs)
        positions = gradient.new_empty(INPUTS, INPUTS, tiles.count, outputs)
        there = POSITIONS_TO_OUTPUTS.T.expand(OUTPUTS, -1, -1)
        to_bias = gradient.new_zeros(outputs) if ctx.needs_input_grad[1] else None
        to_maps = [torch.empty_like(each) for each in maps] if any(ctx.needs_input_grad[2:]) else []
        tile_sum = _TileSum([_by_strip(each, strips) for each in to_maps]) if to_maps else None
        for top in range(0, len(rows), OUTPUTS):
            columns.copy_(rows[top : top + OUTPUTS])
            torch.bmm(there, columns.view(OUTPUTS, OUTPUTS, -1), out=half_way)
            torch.mm(POSITIONS_TO_OUTPUTS.T, half_way.view(OUTPUTS, -1), out=positions.view(INPUTS, -1))
            tiles_there = tiles.read(top)
            for line in range(INPUTS):
                kernel_sum.add(line, positions[line], tiles_there[line])
                if tile_sum is not None:
                    torch.bmm(positions[line], kernels.line(line), out=tile_sum.positions[line])
            if tile_sum is not None:
                tile_sum.add(top)
            if to_bias is not None:
                to_bias += positions[SUM].sum(dim=0)
        unwanted: list[Tensor | None] = [None] * len(maps)
        return kernel_sum.gradient(), to_bias, *(to_maps or unwanted)


def count_strips(batch: int, height: int, width: int, inputs: int, outputs: int) -> int:
    """Give how many strips of the maps go side by side, each a whole number of rows of tiles high.

    More of them make fewer and larger products, as long as a row of tiles of all strips stays in the cache, or is small
    beside the kernels: those are then read once.
    """
    down, across = height // OUTPUTS, width // OUTPUTS
    row = 4 * INPUTS**2 * batch * across * max(inputs, outputs)
    most = max(ROW_BYTES, 4 * INPUTS**2 * inputs * outputs) // row
    return max(each for each in range(1, down + 1) if down % each == 0 and (each == 1 or each <= most))


def _by_strip(maps: Tensor, strips: int) -> Tensor:
    """View channels-last (B, C, H, W) as (row of a strip, column of a tile, strip, B, W / 4, C)."""
    batch, channels, height, width = maps.shape
    by_row = maps.permute(2, 3, 0, 1).view(strips, height // strips, width // OUTPUTS, OUTPUTS, batch, channels)
    return by_row.permute(1, 3, 0, 4, 2, 5)


def _empty_like_rows(rows: Tensor) -> Tensor:
    return rows.new_empty(OUTPUTS, *rows.shape[1:])


class _Kernels:
    """The positions of (K, C, 3, 3) kernels, one line of six after the other; `kept` where each is asked for again."""

    def __init__(self, weight: Tensor, *, kept: bool) -> None:
        self._shape = INPUTS, *weight.shape[:2]
        self._taps = weight.permute(2, 3, 0, 1).reshape(3, -1)
        self._half_way = weight.new_empty(1, self._taps.shape[1])
        self._line = weight.new_empty(self._shape)
        self._kept = [self._make(line, torch.empty_like(self._line)) for line in range(INPUTS)] if kept else None

    def line(self, line: int) -> Tensor:
        """Give (6, K, C), good until the next is asked for."""
        return self._make(line, self._line) if self._kept is None else self._kept[line]

    def _make(self, line: int, into: Tensor) -> Tensor:
        torch.mm(KERNEL_TO_POSITIONS[line : line + 1], self._taps, out=self._half_way)
        torch.mm(KERNEL_TO_POSITIONS, self._half_way.view(3, -1), out=into.view(INPUTS, -1))
        return into


class _KernelSum:
    """The transpose of `_Kernels`: the gradient of kernels from that of their positions, added up over tiles."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._line = weight.new_empty(INPUTS, *weight.shape[:2])
        self._half_way = weight.new_zeros(INPUTS, 3, weight.shape[0] * weight.shape[1])

    def add(self, line: int, outputs: Tensor, inputs: Tensor) -> None:
        """Add what the tiles' (6, tiles, K) and (6, tiles, C) positions of one line give."""
        torch.bmm(outputs.transpose(1, 2), inputs, out=self._line)
        self._half_way[line].addmm_(KERNEL_TO_POSITIONS.T, self._line.view(INPUTS, -1))

    def gradient(self) -> Tensor:
        """Give (K, C, 3, 3), channels-last."""
        taps = torch.mm(KERNEL_TO_POSITIONS.T, self._half_way.view(INPUTS, -1))
        return taps.view(3, 3, *self._weight.shape[:2]).permute(2, 3, 0, 1)


class _TileRows:
    """The tiles of maps (see `_by_strip`), brought into their positions one row of tiles after the other."""

    def __init__(self, maps: list[Tensor]) -> None:
        self._maps, (_, _, *between, _) = maps, maps[0].shape
        self._widths = [each.shape[-1] for each in maps]
        channels = sum(self._widths)
        self.count = math.prod(between)
        # The first and last column of the outer tiles stay the zeros around the maps.
        self._columns = maps[0].new_zeros(OUTPUTS, INPUTS, *between, channels)
        self._window = maps[0].new_empty(INPUTS, INPUTS, self.count * channels)
        self._positions = maps[0].new_empty(INPUTS, INPUTS, self.count, channels)
        self._take_from_strip([each[-1:] for each in maps], slice(None, -1), slice(1, None), into=0)
        self._take([each[:1] for each in maps], into=1)

    def read(self, top: int) -> Tensor:
        """Give (6, 6, tiles, C), the positions of the tiles whose first output row is `top`; rows come in order."""
        if top:
            self._window[:2] = self._window[OUTPUTS:]
        rows = [each[top + 1 : top + OUTPUTS + 1] for each in self._maps]
        self._take(rows, into=2)
        if len(rows[0]) < OUTPUTS:
            self._take_from_strip([each[:1] for each in self._maps], slice(1, None), slice(None, -1), into=5)
        torch.mm(TILE_TO_POSITIONS, self._window.view(INPUTS, -1), out=self._positions.view(INPUTS, -1))
        return self._positions

    def _take(self, rows: list[Tensor], into: int) -> None:
        count = len(rows[0])
        columns = self._columns[:count]
        for given, taken in zip(rows, torch.split(columns, self._widths, dim=-1), strict=True):
            taken[:, 1:5] = given
        columns[:, 0, ..., 1:, :] = columns[:, 4, ..., :-1, :]
        columns[:, 5, ..., :-1, :] = columns[:, 1, ..., 1:, :]
        there = TILE_TO_POSITIONS.expand(count, -1, -1)
        torch.bmm(there, columns.view(count, INPUTS, -1), out=self._window[into : into + count])

    def _take_from_strip(self, row: list[Tensor], of: slice, to: slice, into: int) -> None:
        """Take the row that each strip sees of the one above or below it; the outermost sees zeros."""
        if row[0].shape[2] == 1:
            self._window[into] = 0
            return
        seen = [torch.zeros_like(each) for each in row]
        for mine, theirs in zip(seen, row, strict=True):
            mine[:, :, to] = theirs[:, :, of]
        self._take(seen, into)


class _TileSum:
    """The transpose of `_TileRows`: the gradients of maps from that of their positions, added up where tiles meet."""

    def __init__(self, gradients: list[Tensor]) -> None:
        self._gradients, (self._height, _, *between, _) = gradients, gradients[0].shape
        self._widths = [each.shape[-1] for each in gradients]
        channels, count = sum(self._widths), math.prod(between)
        self.positions = gradients[0].new_empty(INPUTS, INPUTS, count, channels)  # to be filled before each `add`
        self._window = gradients[0].new_zeros(INPUTS, INPUTS, count * channels)
        self._columns = gradients[0].new_empty(OUTPUTS, INPUTS, *between, channels)
        self._above: Tensor | None = None  # what strips give to the last row of those above them

    def add(self, top: int) -> None:
        """Add what `positions` holds, of the tiles whose first output row is `top`; rows come in order."""
        if top:
            self._window[:2] = self._window[OUTPUTS:]
            self._window[2:] = 0
        self._window.view(INPUTS, -1).addmm_(TILE_TO_POSITIONS.T, self.positions.view(INPUTS, -1))
        # The last two rows wait for the tiles below them.
        if top:
            self._give(top - 1, self._back(self._window[:OUTPUTS]))
        else:
            self._above = self._back(self._window[:1]).clone()
            self._give(0, self._back(self._window[1:OUTPUTS]))
        if top + OUTPUTS == self._height and self._above is not None:
            last, below = self._back(self._window[OUTPUTS:])
            last[:, :-1] += self._above[0, :, 1:]
            self._give(self._height - 1, last.unsqueeze(0))
            for gradient, given in zip(self._gradients, torch.split(below, self._widths, dim=-1), strict=True):
                gradient[0, :, 1:] += given[:, :-1]

    def _back(self, window: Tensor) -> Tensor:
        count = len(window)
        columns = self._columns[:count]
        there = TILE_TO_POSITIONS.T.expand(count, -1, -1)
        torch.bmm(there, window, out=columns.view(count, INPUTS, -1))
        columns[:, 4, ..., :-1, :] += columns[:, 0, ..., 1:, :]
        columns[:, 1, ..., 1:, :] += columns[:, 5, ..., :-1, :]
        return columns[:, 1:5]

    def _give(self, first: int, rows: Tensor) -> None:
        for gradient, given in zip(self._gradients, torch.split(rows, self._widths, dim=-1), strict=True):
            gradient[first : first + len(rows)] = given
