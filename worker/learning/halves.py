"""What is tried when a pass over slices does not fit into the accelerator's memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.learning.errors import MemoryExhaustedError


def in_halves(compute: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Give `compute(batch)`; out of memory, once more in two halves, joined along the first axis.

    For what treats each slice by itself, so that halves give what the whole does. Raises MemoryExhaustedError, which
    says what was tried.
    """
    try:
        return compute(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Out here the failed pass's frames are gone, and with them what they held of the memory.
    torch.cuda.empty_cache()
    tried = [len(batch)]
    if len(batch) > 1:
        halves = batch.chunk(2)
        tried.append(len(halves[0]))
        try:
            return torch.cat([compute(half) for half in halves])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()
    raise MemoryExhaustedError(tried)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the accelerator's memory was too small: for torch itself, or for cuDNN and cuBLAS below it."""
    return isinstance(error, torch.OutOfMemoryError) or "_STATUS_ALLOC_FAILED" in str(error)
