"""What is tried when a training does not fit into the accelerator's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from app.errors import GpuOutOfMemory
from app.log import get_log

Fitted = TypeVar("Fitted")

_log = get_log(__name__)


def fit_in_memory(fit: Callable[[int], Fitted], batch: int, image_size: int, least: int = 1) -> Fitted:
    """What `fit(batch)` gives; out of memory, once more with half the batch, then `GpuOutOfMemory` says what was tried.

    `least` is the smallest batch that the training can work with.
    """
    tried = [batch]
    try:
        return fit(batch)
    except torch.OutOfMemoryError as error:
        _log.warning("gpu_out_of_memory", batch=batch, reason=str(error).split("\n", 1)[0])
    # Out here the failed attempt's frames are gone, and with them what they held of the memory.
    torch.cuda.empty_cache()
    if batch // 2 >= least:
        tried.append(batch // 2)
        try:
            return fit(batch // 2)
        except torch.OutOfMemoryError as error:
            _log.warning("gpu_out_of_memory", batch=batch // 2, reason=str(error).split("\n", 1)[0])
        torch.cuda.empty_cache()
    raise GpuOutOfMemory(tried, image_size)
