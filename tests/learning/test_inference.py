"""A network made ready to predict gives what it gave before, and stays as it was."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from tests import oracles
from worker.learning.configs import NETWORKS, SegmentationConfig
from worker.learning.inference import ActivatedConvolution, ReadyNetwork, make_ready, quicken_layers
from worker.learning.nets.unet import JoinMaps, UNet, build_network
from worker.learning.precision import autocast
from worker.learning.query.members import Members
from worker.learning.seeding import derive_seed, seeded_initialisation
from worker.learning.train import confusion_counts, seeded_globals

CPU = torch.device("cpu")
SIZE = 64


@torch.no_grad()
def make_network(name: str) -> UNet:
    """A network whose batch norms have learned statistics and scales far from a fresh one's, and a decided head."""
    with seeded_initialisation(0, name):
        network = build_network(None, SegmentationConfig(network=name, start="scratch", image_size=SIZE))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
        network.decoder.head.weight *= 10  # type: ignore[operator, union-attr]
        for _ in range(5):
            network(make_planes(8))
    return network


def make_planes(count: int) -> Tensor:
    return torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(count))


@torch.inference_mode()
def predict_slowly(network: UNet, planes: Tensor) -> Tensor:
    return network.eval()(planes).softmax(dim=1)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> UNet:
    return make_network(request.param)


@torch.inference_mode()
def test_float32_equals_the_network_itself(network: UNet) -> None:
    ready = ReadyNetwork(network, "float32", CPU)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in ready.modules())
    planes = make_planes(3)
    found, expected = ready(planes), predict_slowly(network, planes)
    assert (found.dtype, found.is_contiguous()) == (torch.float32, True)
    assert expected.std() > 0.1  # far from one answer everywhere
    assert torch.allclose(found, expected, atol=1e-4)


@torch.inference_mode()
def test_bfloat16_is_no_further_off_than_autocast(network: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    planes = make_planes(3)
    exact = predict_slowly(network, planes)
    with autocast("auto", CPU):
        cast = network.eval()(planes).float().softmax(dim=1)
    found = ReadyNetwork(network, "auto", CPU)(planes)
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() <= 1.5 * (cast - exact).abs().mean()
    assert 0 < (found - exact).abs().mean() < 0.01


def test_the_network_itself_stays_as_it_was() -> None:
    network = make_network("dmpls").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = [parameter.requires_grad for parameter in network.parameters()]
    ready = ReadyNetwork(network, "auto", CPU)
    assert not ready.network.training
    assert all(layer.training for layer in network.modules())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [parameter.requires_grad for parameter in network.parameters()] == trained


def test_what_is_ready_is_not_made_ready_again() -> None:
    first = make_ready([make_network("unet")], "float32", CPU)
    assert make_ready(first, "float32", CPU)[0] is first[0]


def test_dropout_passes_equal_those_of_the_network_itself() -> None:
    network, planes = make_network("unet"), make_planes(2)
    config = SegmentationConfig(image_size=SIZE, precision="float32")

    def keep(maps) -> Tensor:  # type: ignore[no-untyped-def]
        return torch.stack(list(maps), dim=1)

    asked = Members([network], lambda: planes, config, CPU, lambda *_: None)
    found = asked.score_by_dropout(keep, np.arange(2), 3, seed=5)[0]
    network.eval().to(memory_format=torch.channels_last)  # dropout draws in the order of the memory
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.train()
    with torch.inference_mode(), seeded_globals(derive_seed(5, "dropout", 0), CPU):
        expected = torch.stack([network(planes.contiguous()).softmax(dim=1) for _ in range(3)], dim=1)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 1e-3
    assert found == pytest.approx(expected.numpy(), abs=2e-5)


@given(st.integers(2, 5), st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 5)), st.integers(0, 2**32))
def test_counts_are_those_of_a_loop(classes: int, shape: tuple[int, int, int], seed: int) -> None:
    draws = np.random.default_rng(seed)
    predicted = draws.integers(0, classes, shape).astype(np.uint8)
    reference = draws.choice(np.array([*range(classes), 255], dtype=np.uint8), shape)
    counts = confusion_counts(torch.from_numpy(predicted), torch.from_numpy(reference), classes)
    assert counts.tolist() == oracles.loop_confusion(predicted, reference, classes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_quick_layers_give_what_the_ordinary_ones_give(dtype: torch.dtype) -> None:
    ordinary = nn.ModuleDict(
        {"halve": nn.MaxPool2d(2), "enlarge": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)}
    )
    ordinary["join"] = JoinMaps()
    quick = copy.deepcopy(ordinary)
    quicken_layers(quick)
    assert not {type(layer) for layer in quick.values()} & {type(layer) for layer in ordinary.values()}
    draws = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 16, 12, 20, generator=draws).to(dtype).contiguous(memory_format=torch.channels_last)
    other = torch.randn(2, 5, 12, 20, generator=draws).to(dtype).contiguous(memory_format=torch.channels_last)
    assert torch.equal(quick["halve"](maps), ordinary["halve"](maps))
    assert torch.equal(quick["enlarge"](maps), ordinary["enlarge"](maps.float()).to(dtype))
    assert torch.equal(quick["join"](maps, other), ordinary["join"](maps, other))
    for name, found in (("halve", quick["halve"](maps)), ("join", quick["join"](maps, other))):
        assert found.is_contiguous(memory_format=torch.channels_last), name
        assert found.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_convolution_takes_its_activation_along(dtype: torch.dtype) -> None:
    ordinary = nn.Sequential(
        nn.Conv2d(3, 8, kernel_size=3, padding=2, dilation=2), nn.Identity(), nn.LeakyReLU(0.01, inplace=True),
        nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1, groups=4, bias=False), nn.LeakyReLU(0.3),
    ).to(dtype=dtype, memory_format=torch.channels_last)  # fmt: skip
    quick = copy.deepcopy(ordinary)
    quicken_layers(quick)
    assert [type(layer) for layer in quick if not isinstance(layer, nn.Identity)] == 2 * [ActivatedConvolution]
    maps = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    found, expected = quick(maps.contiguous(memory_format=torch.channels_last)), ordinary.float()(maps.float())
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert expected.std() > 0.1
    assert torch.allclose(found.float(), expected, atol=1e-6 if dtype == torch.float32 else 1e-2)


def test_what_does_not_stand_right_behind_a_convolution_stays() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Dropout(), nn.LeakyReLU(), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.LeakyReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(),
    )  # fmt: skip
    before = [type(layer) for layer in network]
    quicken_layers(network)
    assert [type(layer) for layer in network] == before


def test_pooling_of_another_kind_stays() -> None:
    network = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), nn.MaxPool2d(2, stride=1))
    quicken_layers(network)
    assert all(isinstance(layer, nn.MaxPool2d) for layer in network)


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
def test_memory_that_layers_free_stays_with_the_process() -> None:
    """In a process of its own: how often the kernel is asked for pages depends on all that went before."""
    code = """
import resource, torch
from worker.learning.configs import SegmentationConfig
from worker.learning.inference import ReadyNetwork
from worker.learning.nets.unet import build_network
torch.set_num_threads(1)
ready = ReadyNetwork(build_network(None, SegmentationConfig()), "auto", torch.device("cpu"))
planes = torch.rand(2, 1, 256, 256)
with torch.inference_mode():
    for _ in range(3):
        ready(planes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        ready(planes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 5 * 500  # left to itself, glibc fetches thousands of pages again at every pass


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
@pytest.mark.parametrize("large_maps", [False, True])
def test_a_training_keeps_its_memory_until_it_ends(large_maps: bool) -> None:
    code = f"""
import resource, torch
from pathlib import Path
from worker.learning.memory import training_memory

def step():
    maps = [torch.ones(2**20 * {10 if large_maps else 1}) for _ in range({10 if large_maps else 100})]  # 400 MiB

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

with training_memory(torch.device("cpu"), large_maps={large_maps}):
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    fetched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    kept = resident()
print(fetched, kept - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    fetched, given_back = map(int, done.stdout.split())
    assert fetched < 1000  # of 102,400 pages
    assert given_back > 300 * 2**20
