"""What is tried when a training does not fit into the accelerator's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from app.errors import GpuOutOfMemory
from app.log import get_log
from worker.learning.halves import is_out_of_memory

Fitted = TypeVar("Fitted")

_log = get_log(__name__)


def fit_in_memory(fit: Callable[[int], Fitted], batch: int, image_size: int, least: int = 1) -> Fitted:
    """What `fit(batch)` gives; out of memory, once more with half the batch, then `GpuOutOfMemory` says what was tried.

    `least` is the smallest batch that the training can work with.
    """
    tried = [batch]
    try:
        return fit(batch)
    except RuntimeError as error:
        _pass_over(error, batch)
    # Out here the failed attempt's frames are gone, and with them what they held of the memory.
    torch.cuda.empty_cache()
    if batch // 2 >= least:
        tried.append(batch // 2)
        try:
            return fit(batch // 2)
        except RuntimeError as error:
            _pass_over(error, batch // 2)
        torch.cuda.empty_cache()
    raise GpuOutOfMemory(tried, image_size)


def _pass_over(error: RuntimeError, batch: int) -> None:
    if not is_out_of_memory(error):
        raise error
    _log.warning("gpu_out_of_memory", batch=batch, reason=str(error).split("\n", 1)[0])
