"""Run lengths, read back by decoders written from the descriptions of the formats alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from app.exports.run_lengths import encode_brush, encode_coco
from tests.exports.decoders import decode_brush, decode_coco

regions = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())


@given(regions)
def test_coco_runs_are_the_region(region: NDArray[np.bool_]) -> None:
    counts = encode_coco(region)
    assert (decode_coco(counts, region.shape) == region).all()
    assert all(count > 0 for count in counts[1:])


@given(regions)
def test_brush_bytes_are_the_region(region: NDArray[np.bool_]) -> None:
    rle = encode_brush(region)
    assert all(0 <= byte <= 255 for byte in rle)
    assert (decode_brush(rle, region.shape) == region).all()


def test_a_run_longer_than_the_longest_block_is_parted() -> None:
    region = np.zeros((200, 300), dtype=bool)
    region[150:, 10:] = True
    rle = encode_brush(region)
    assert len(rle) < 1000
    assert (decode_brush(rle, region.shape) == region).all()


def test_a_coco_example_by_hand() -> None:
    region = np.array([[1, 0, 1], [1, 0, 0]], dtype=bool)
    assert encode_coco(region) == [0, 2, 2, 1, 1]
