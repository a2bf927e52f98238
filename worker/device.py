"""The device that a worker learns on, and what it is called in manifests."""

from __future__ import annotations

import platform
from functools import lru_cache
from typing import Any

import torch

from app.errors import Unavailable
from app.log import get_log
from app.settings import Settings

_log = get_log(__name__)


def choose_device(settings: Settings) -> torch.device:
    """The device that the settings name; by `auto` the first GPU where there is one, else the CPU.

    Raises `Unavailable` for a GPU that is not there. The CPU has as many threads as the settings say.
    """
    if settings.device.startswith("cuda"):
        device = torch.device(settings.device)
        if (device.index or 0) >= torch.cuda.device_count():
            raise Unavailable(f"NEXTSLICE_DEVICE is {settings.device}, and this worker sees no such GPU")
        return device
    if settings.device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        _warn_once()
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    return torch.device("cpu")


@lru_cache(maxsize=1)
def _warn_once() -> None:
    _log.warning("no_gpu", detail="no CUDA device is visible, so this worker learns on the CPU")


def describe_device(device: torch.device) -> dict[str, Any]:
    """Facts about the machine that a result depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
