"""glibc's heaps (mallopt(3)): how many the threads of this process share."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX = -8  # glibc's number of the setting (malloc.h)


def share_heaps(count: int) -> None:
    """Let all threads share so many heaps; glibc gives them up to eight a core. Another C library is left alone.

    Each heap keeps the most that its threads ever needed at once, and under a crowd that adds up for as long as the
    process lives.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_ARENA_MAX, count)
