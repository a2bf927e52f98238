"""The moving average of weights."""

import torch
from torch import nn

from worker.learning.averaging import WeightAverage


def make_network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_average_equals_its_loop_with_a_quick_start() -> None:
    network = make_network()
    weight = network[0].weight
    average = WeightAverage(network, decay=0.5)
    expected = weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 30):
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
    assert torch.allclose(average.network[0].weight, expected, atol=1e-6)


def test_batch_statistics_are_averaged_too_and_the_trained_network_is_left_alone() -> None:
    network = make_network()
    average = WeightAverage(network, decay=0.9)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network[1].running_mean.fill_(7.0)
    average.update(1)
    assert (average.network[1].running_mean > 0).all()
    assert (network[1].running_mean == 7).all()
    assert torch.equal(network[0].weight, before["0.weight"])
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_without_decay_the_trained_network_itself_is_asked() -> None:
    network = make_network()
    average = WeightAverage(network, decay=0.0)
    average.update(1)
    assert average.network is network
    assert list(average.networks) == ["network"]
