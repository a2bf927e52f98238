"""Where half-wide arithmetic is used."""

import pytest
import torch

from worker.learning.errors import ConfigError
from worker.learning.precision import autocast, memory_format, uses_bfloat16

CPU = torch.device("cpu")


def test_float32_is_never_half_wide():
    assert not uses_bfloat16("float32", CPU)
    assert not uses_bfloat16("float32", torch.device("cuda"))


def test_a_cpu_works_channels_last_whatever_the_precision():
    assert memory_format("float32", CPU) is torch.channels_last
    assert memory_format("auto", CPU) is torch.channels_last
    assert memory_format("float32", torch.device("cuda")) is torch.contiguous_format


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", None])
def test_auto_follows_the_processor(monkeypatch, feature):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True})
    assert uses_bfloat16("auto", CPU) is (feature is not None)
    with autocast("auto", CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is (torch.bfloat16 if feature else torch.float32)


def test_an_unknown_word_is_refused():
    with pytest.raises(ConfigError, match="precision"):
        uses_bfloat16("half", CPU)
