"""What glibc does with memory that layers free: kept for the next layer instead of given back to the kernel.

Every layer's map is megabytes, so glibc otherwise returns and fetches them several times a pass, and the kernel clears
each page anew. Where the C library is another one nothing is done.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

# glibc's numbers of its settings (malloc.h), and what they become.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_PREDICTION_BYTES = 2**28  # two planes' maps of 256 x 256, and those of the layer before, many times over
_TRAINING_BYTES = 2**30  # the maps of a batch of 12 planes of 256 x 256, which wait for the backward pass
_LARGEST_ON_HEAP = 2**25  # glibc allows no more; what is larger it maps anew each time,
_NO_MAPS, _SOME_MAPS = 0, 2**16  # unless it may map nothing at all; the latter is its own number
_PAD, _NO_PAD = 2**26, 2**17  # asked for beyond what is needed; the latter is glibc's own


@cache
def keep_freed_memory() -> None:
    """Let this process keep up to 256 MiB of what its layers free: an eighth of the time of a prediction."""
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        library.mallopt(_TRIM_THRESHOLD, _PREDICTION_BYTES)


@contextmanager
def training_memory(device: torch.device, *, large_maps: bool = False) -> Iterator[None]:
    """Keep up to 1 GiB while a network is trained on a CPU, then give it back: 4 to 15 % of a step's time.

    With `large_maps`, of more than 32 MiB, nothing is mapped meanwhile: each step would clear them page by page.
    """
    library = _glibc() if device.type == "cpu" else None
    if library is None:
        yield
        return
    keep_freed_memory()
    library.mallopt(_TRIM_THRESHOLD, _TRAINING_BYTES)
    library.mallopt(_TOP_PAD, _PAD)
    if large_maps:
        library.mallopt(_MMAP_MAX, _NO_MAPS)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _SOME_MAPS)
        library.mallopt(_TOP_PAD, _NO_PAD)
        library.mallopt(_TRIM_THRESHOLD, _PREDICTION_BYTES)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if library is not None and hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
