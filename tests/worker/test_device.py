"""The device that a worker learns on is the one that the settings name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from app.errors import Unavailable
from app.settings import Settings
from worker.device import choose_device


def knobs(home: Path, device: str) -> Settings:
    return Settings(home=home, device=device)


def test_the_cpu_is_taken_where_it_is_named_and_where_there_is_nothing_else(tmp_path: Path) -> None:
    assert choose_device(knobs(tmp_path, "cpu")) == torch.device("cpu")
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device(Settings(home=tmp_path)).type == there


def test_a_gpu_that_is_not_there_is_refused_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="sees no such GPU"):
        choose_device(knobs(tmp_path, f"cuda:{torch.cuda.device_count()}"))


@pytest.mark.parametrize("word", ["gpu", "cuda:", "cuda:one", "", "mps"])
def test_other_words_are_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(ValidationError):
        knobs(tmp_path, word)
