"""Threads share as many heaps as they are told to."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from app.heap import share_heaps

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if int(sys.argv[1]):
    share_heaps(int(sys.argv[1]))
heaps, together = set(), threading.Barrier(8)

def allocate():
    together.wait()
    heaps.add(libc.malloc(64) >> 26)  # a thread's heap begins at a multiple of 64 MiB
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
[each.start() for each in threads]
[each.join() for each in threads]
print(len(heaps))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_threads_share_so_many_heaps() -> None:
    counts = [
        int(subprocess.run([sys.executable, "-c", PROGRAM, str(count)], capture_output=True, check=True).stdout)
        for count in (0, 2)
    ]
    assert counts[0] > 2
    assert counts[1] <= 2
