"""Background that a closed stroke shuts out."""

import numpy as np
import torch
from hypothesis import given, settings, strategies as st

from tests import oracles
from worker.learning.scribbles import SHUT_OUT, mark_shut_out_background


def drawn(*rows: str) -> torch.Tensor:
    """(1, S, S) labels: a digit is a class, a dot is unlabelled, an x is shut out."""
    values = [[{".": 255, "x": SHUT_OUT}.get(mark) if mark in ".x" else int(mark) for mark in row] for row in rows]
    return torch.tensor([values], dtype=torch.uint8)


def test_outside_of_a_closed_line_is_background_and_its_inside_stays_open() -> None:
    found = mark_shut_out_background(drawn("......", ".0000.", ".0..0.", ".01.0.", ".0000.", "......"))
    assert torch.equal(found, drawn("xxxxxx", "x0000x", "x0..0x", "x01.0x", "x0000x", "xxxxxx"))


def test_a_gap_lets_everything_stay_unlabelled() -> None:
    labels = drawn("......", ".0000.", ".0..0.", ".01...", ".0000.", "......")
    assert torch.equal(mark_shut_out_background(labels), labels)


def test_a_diagonal_line_is_no_gap() -> None:
    found = mark_shut_out_background(drawn("..0..", ".0.0.", "0.1.0", ".0.0.", "..0.."))
    assert torch.equal(found, drawn("xx0xx", "x0.0x", "0.1.0", "x0.0x", "xx0xx"))


def test_slice_with_background_alone_is_background_and_one_without_stays() -> None:
    assert torch.equal(mark_shut_out_background(drawn("...", ".0.", "...")), drawn("xxx", "x0x", "xxx"))
    untouched = drawn("...", ".2.", "...")
    assert torch.equal(mark_shut_out_background(untouched), untouched)


def test_two_structures_with_a_line_each_both_stay_open() -> None:
    found = mark_shut_out_background(drawn("000.000", "0.0.0.0", "010.020", "000.000", ".......", ".......", "......."))
    assert (found == 255).sum() == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.2, 0.45, 0.7]))
def test_filling_equals_its_loop(seed: int, drawn_share: float) -> None:
    generator = np.random.default_rng(seed)
    labels = np.full((2, 7, 7), 255, dtype=np.uint8)
    labels[generator.random(labels.shape) < drawn_share] = 0
    labels[generator.random(labels.shape) < 0.08] = 3
    found = mark_shut_out_background(torch.from_numpy(labels)).numpy()
    assert np.array_equal(found, np.stack([oracles.loop_shut_out_background(plane) for plane in labels]))
