"""A convolution of two maps against that of their concatenation."""

import copy

import pytest
import torch

from worker.learning.nets.pair import PairConvolution


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_a_pair_is_convolved_as_one_map(
    dtype: torch.dtype, within: float, bias: bool, layout: torch.memory_format
) -> None:
    draws = torch.Generator().manual_seed(0)
    sizes = [(2, 3, 12, 8), (2, 5, 12, 8)]
    maps = [torch.randn(size, generator=draws).contiguous(memory_format=layout).requires_grad_() for size in sizes]
    layer = PairConvolution(8, 4, kernel_size=3, padding=1, bias=bias).to(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = layer((maps[0], maps[1]))
    assert found.dtype == dtype
    upstream = torch.randn(found.shape, generator=draws)
    ours = torch.autograd.grad(found, [*maps, *layer.parameters()], upstream.to(dtype))

    exact = [each.detach().double().requires_grad_() for each in maps]
    plain = copy.deepcopy(layer).double()
    expected = plain(torch.cat(exact, dim=1))
    theirs = torch.autograd.grad(expected, [*exact, *plain.parameters()], upstream.double())
    for one, other in zip([found, *ours], [expected, *theirs], strict=True):
        assert (one.double() - other).abs().max() < within * other.abs().max()
    # Dense gradients: what comes after takes several times as long on a window of a larger one.
    assert all(each.is_contiguous(memory_format=layout) for each in ours[:2])
