"""Elementwise dropout from 16 random bits an element."""

import math

import pytest
import torch

from worker.learning.nets.dropout import ElementDropout, draw_bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_it_drops_at_its_rate_and_scales_what_is_left(
    rate: float, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    maps = torch.full((3, 7, 65, 65), 2.0, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    dropped = ElementDropout(rate)(maps)
    share = (dropped == 0).float().mean().item()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / maps.numel())
    assert dropped.is_contiguous(memory_format=layout)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 2 / (1 - rate)))
    (gradient,) = torch.autograd.grad(dropped.sum(), maps)
    torch.testing.assert_close(gradient, dropped.detach() / 2)


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    dropped = (ElementDropout(0.5)(torch.ones(1, 1, 256, 256)) == 0).flatten().float()
    for lag in (1, 2, 3, 4, 5, 256):
        together = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert abs(together - 0.25) < 5 * math.sqrt(0.25 * 0.75 / (len(dropped) - lag))


def test_equal_seeds_drop_the_same_and_evaluation_drops_nothing() -> None:
    layer, maps = ElementDropout(0.3), torch.rand(2, 3, 9, 9)
    outcomes = []
    for _ in range(2):
        torch.manual_seed(5)
        outcomes.append(layer(maps))
    assert torch.equal(*outcomes)
    assert not torch.equal(outcomes[0], layer(maps))
    assert torch.equal(layer.eval()(maps), maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [2**-16, 0.05, 0.3, 0.5, 1 - 2**-16])
def test_it_keeps_the_draws_from_the_rate_on(rate: float, dtype: torch.dtype) -> None:
    maps = torch.ones(2, 3, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(7)
    dropped = ElementDropout(rate)(maps)
    torch.manual_seed(7)
    expected = draw_bits(maps).int() + 2**15 >= rate * 2**16
    assert torch.equal(dropped != 0, expected)


@pytest.mark.parametrize("rate", [2**-18, 1.0])
def test_rates_beyond_the_steps_are_left_to_torch(rate: float) -> None:
    layer, maps = ElementDropout(rate), torch.rand(1, 2, 8, 8)
    torch.manual_seed(0)
    dropped = layer(maps)
    torch.manual_seed(0)
    assert torch.equal(dropped, torch.nn.functional.dropout(maps, rate))


def test_without_a_rate_nothing_changes() -> None:
    maps = torch.rand(1, 2, 3, 4)
    assert torch.equal(ElementDropout(0.0)(maps), maps)
