"""Decoders of run lengths, written from the descriptions of the formats alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def decode_coco(counts: list[int], shape: Sequence[int]) -> NDArray[np.bool_]:
    """Alternating runs, the first outside, down the columns."""
    region = np.zeros(tuple(shape), dtype=bool)
    place, inside = 0, False
    for count in counts:
        for _ in range(count):
            region[place % shape[0], place // shape[0]] = inside
            place += 1
        inside = not inside
    assert place == region.size
    return region


def decode_brush(rle: list[int], shape: Sequence[int]) -> NDArray[np.bool_]:
    """Bit by bit: count, word size, four widths, then repeated or literal blocks of (H, W, 4) values."""
    stream = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def take(bits: int) -> int:
        nonlocal at
        at += bits
        return int(stream[at - bits : at], 2)

    count, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, length = take(1), take(widths[take(2)]) + 1
        values += [take(word)] * length if repeated else [take(word) for _ in range(length)]
    assert len(values) == count == 4 * shape[0] * shape[1]
    assert len(stream) - at < 8
    picture = np.array(values, dtype=np.uint8).reshape(*shape, 4)
    assert (picture == picture[..., 3:]).all()
    return picture[..., 3] > 0
