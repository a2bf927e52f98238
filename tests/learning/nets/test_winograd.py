"""Convolutions by minimal filtering against the plain ones in float64."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn
from torch.nn import functional

from worker.learning.configs import EncoderConfig, SegmentationConfig
from worker.learning.embed import fit_encoder
from worker.learning.inference import ReadyNetwork
from worker.learning.nets import winograd
from worker.learning.nets.encoder import ContrastiveEncoder
from worker.learning.nets.pair import PairConvolution
from worker.learning.nets.unet import build_network
from worker.learning.nets.winograd import (
    KERNEL_TO_POSITIONS,
    POSITIONS_TO_OUTPUTS,
    TILE_TO_POSITIONS,
    WinogradConvolution,
    take_winograd,
)
from worker.learning.seeding import seeded_initialisation
from worker.learning.shapes import LabelledSlices, SlicePool
from worker.learning.train import fit_segmentation

CPU = torch.device("cpu")
Fitted = TypeVar("Fitted")


@pytest.fixture(autouse=True)
def _a_cpu_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "Intel(R) Xeon(R)"})


def is_filtered(convolved: Tensor) -> bool:
    assert convolved.grad_fn is not None
    return "MinimalFiltering" in convolved.grad_fn.name()


def test_the_matrices_filter_exactly() -> None:
    """In whole numbers: all four outputs of all products of a kernel's and a tile's elements."""
    tile, kernel = torch.eye(6, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    products = (KERNEL_TO_POSITIONS.double() @ kernel)[:, :, None] * (TILE_TO_POSITIONS.double() @ tile)[:, None, :]
    found = torch.einsum("op,pkt->okt", POSITIONS_TO_OUTPUTS.double(), products)
    for output in range(4):
        for tap in range(3):
            expected = torch.zeros(6, dtype=torch.float64)
            expected[output + tap] = 1
            torch.testing.assert_close(found[output, tap], expected, rtol=0, atol=1e-6)  # the matrices are float32


@given(
    batch=st.integers(1, 3),
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    outputs=st.integers(1, 5),
    tiles=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    needs=st.booleans(),
    forward=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    batch: int,
    widths: list[int],
    outputs: int,
    tiles: tuple[int, int],
    bias: bool,
    layout: torch.memory_format,
    needs: bool,
    forward: bool,
    seed: int,
) -> None:
    draws = torch.Generator().manual_seed(seed)
    size = (4 * tiles[0], 4 * tiles[1])
    maps = [torch.randn(batch, each, *size, generator=draws).contiguous(memory_format=layout) for each in widths]
    layer = WinogradConvolution(sum(widths), outputs, 3, padding=1, bias=bias)
    upstream = torch.randn(batch, outputs, *size, generator=draws).contiguous(memory_format=layout)
    for each in maps:
        each.requires_grad_(needs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "LEAST_PIXELS", 1)
        patch.setattr(winograd, "LEAST_FORWARD", 0.0 if forward else 100.0)
        found = layer(maps[0] if len(maps) == 1 else tuple(maps))
    assert is_filtered(found)
    if forward:
        assert found.is_contiguous(memory_format=torch.channels_last)
    wanted = [*(maps if needs else []), *layer.parameters()]
    ours = torch.autograd.grad(found, wanted, upstream)

    exact = [each.detach().double().requires_grad_() for each in maps]
    plain = copy.deepcopy(layer).double()
    expected = functional.conv2d(torch.cat(exact, dim=1), plain.weight, plain.bias, padding=1)
    theirs = torch.autograd.grad(expected, [*(exact if needs else []), *plain.parameters()], upstream.double())
    assert_near([found, *ours], [expected, *theirs])


def assert_near(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert ours.shape == exact.shape
        assert (ours.double() - exact).abs().max() < 3e-5 * exact.abs().max()


@pytest.mark.parametrize(
    ("maps", "training", "gradients"),
    [
        (torch.rand(1, 3, 32, 32), False, True),
        (torch.rand(1, 3, 32, 32), True, False),
        (torch.rand(1, 3, 30, 32), True, True),
        (torch.rand(1, 3, 32, 34), True, True),
        (torch.rand(1, 3, 16, 16), True, True),
    ],
    ids=["evaluation", "no gradient", "height", "width", "few pixels"],
)
def test_where_it_does_not_pay_the_library_convolves(maps: Tensor, training: bool, gradients: bool) -> None:
    layer = WinogradConvolution(3, 2, 3, padding=1).train(training)
    with torch.set_grad_enabled(gradients):
        found = layer(maps)
    assert torch.equal(found, functional.conv2d(maps, layer.weight, layer.bias, padding=1))
    if gradients:
        assert not is_filtered(found)


def test_autocast_is_left_to_the_library() -> None:
    layer = WinogradConvolution(3, 2, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(torch.rand(1, 3, 32, 32))
    assert found.dtype == torch.bfloat16
    assert not is_filtered(found)


def test_it_takes_the_place_of_wide_plain_convolutions_alone() -> None:
    network = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        PairConvolution(128, 64, 3, padding=1),
        nn.Conv2d(64, 64, 3, padding=1, stride=2),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 64, 5, padding=1),
        nn.Conv2d(16, 32, 3, padding=1),
    ).eval()
    before = dict(network.named_parameters())
    take_winograd(network, "float32", CPU)
    assert [type(layer) is WinogradConvolution for layer in network] == 2 * [True] + 7 * [False]
    after = dict(network.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert not any(layer.training for layer in network)


@pytest.mark.parametrize(
    ("capability", "bfloat16", "threads", "device"),
    [
        ("AVX2", True, 2, CPU),
        ("AVX2", False, 5, CPU),
        ("DEFAULT", False, 2, CPU),
        ("AVX2", False, 2, torch.device("cuda")),
    ],
)
def test_elsewhere_networks_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capability: str, bfloat16: bool, threads: int, device: torch.device
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(winograd, "uses_bfloat16", lambda _precision, _device: bfloat16)
    network = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1))
    take_winograd(network, "auto", device)
    assert type(network[0]) is nn.Conv2d


@pytest.mark.parametrize(
    ("name", "capability", "filtered"),
    [
        ("AMD EPYC", "AVX512", False),
        ("AMD EPYC", "AVX2", True),
        ("Intel(R) Xeon(R)", "AVX512", True),
        (None, "AVX512", True),
    ],
)
def test_where_matrix_products_have_half_the_width_convolutions_stay(
    monkeypatch: pytest.MonkeyPatch, name: str | None, capability: str, *, filtered: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {} if name is None else {"cpu_name": name})
    network = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1))
    take_winograd(network, "float32", CPU)
    assert isinstance(network[0], WinogradConvolution) == filtered


def test_a_network_trained_so_predicts_as_before() -> None:
    network = build_network(None, SegmentationConfig())
    planes = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    before = ReadyNetwork(network, "float32", CPU)(planes)
    take_winograd(network, "float32", CPU)
    assert any(isinstance(layer, WinogradConvolution) for layer in network.modules())
    assert torch.equal(ReadyNetwork(network, "float32", CPU)(planes), before)


def test_a_segmentation_training_takes_the_same_step() -> None:
    draws = torch.Generator().manual_seed(0)
    slices = LabelledSlices(
        torch.rand(4, 1, 64, 64, generator=draws), torch.randint(0, 4, (4, 64, 64), generator=draws, dtype=torch.uint8)
    )
    config = SegmentationConfig(network="unet", image_size=64, batch_size=4, iterations=1, precision="float32")
    quick, plain = with_and_without(lambda: fit_segmentation(slices, (), config, 3, lambda *_: None, CPU).state)
    assert any(not torch.equal(quick[name], plain[name]) for name in plain), "nothing was filtered"
    for name, expected in plain.items():
        torch.testing.assert_close(quick[name], expected, rtol=1e-3, atol=1e-5)


def test_an_encoder_training_loses_the_same() -> None:
    places = torch.arange(6)
    images = torch.rand(6, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    pool = SlicePool(images, places // 3, places // 3, places % 3)
    config = EncoderConfig(epochs=1, start="scratch", precision="float32", image_size=64)
    quick, plain = with_and_without(lambda: fit_encoder(pool, config, 3, lambda *_: None, CPU))
    assert any(not torch.equal(quick.state[name], plain.state[name]) for name in plain.state), "nothing was filtered"
    assert quick.state.keys() == plain.state.keys()
    assert quick.losses == pytest.approx(plain.losses, rel=1e-4)


def test_an_encoder_has_the_same_gradients() -> None:
    with seeded_initialisation(0, "test"):
        plain = ContrastiveEncoder(1)
    # A ReLU near zero may let a gradient pass on one side and not on the other; a smooth function may not.
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.ReLU):
                setattr(parent, name, nn.SiLU())
    quick = copy.deepcopy(plain)
    take_winograd(quick, "float32", CPU)
    assert sum(isinstance(layer, WinogradConvolution) for layer in quick.modules()) == 13  # all 3 x 3 with stride 1
    images = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found, expected = (
        torch.autograd.grad(network(images).square().sum(), list(network.parameters())) for network in (quick, plain)
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() < 2e-4 * theirs.norm()


def with_and_without(train: Callable[[], Fitted]) -> tuple[Fitted, Fitted]:
    """What a training gives by minimal filtering, and without it."""
    quick = train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "LEAST_CHANNELS", {})
        return quick, train()
