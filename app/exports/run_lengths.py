"""Regions as run lengths, in the two dialects that other software reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BRUSH_WIDTHS = (3, 4, 8, 16)  # bits of a run's length; a block names one of them
_BRUSH_WORD_BITS = 8
_CHANNELS = 4  # the mask is the alpha channel of a picture; the others repeat it


def encode_coco(region: NDArray[np.bool_]) -> list[int]:
    """The run lengths of an (H, W) region as COCO counts them: column by column, beginning with pixels outside."""
    lengths = _run_lengths(region.reshape(-1, order="F"))
    return lengths if not region.flat[0] else [0, *lengths]


def encode_brush(region: NDArray[np.bool_]) -> list[int]:
    """The bytes of Label Studio's brush mask for an (H, W) region.

    A bit stream, most significant bit first: 32 bits number of values, 5 bits word size - 1, four times 4 bits run
    width - 1; then blocks of 1 bit "repeated", 2 bits which width, length - 1 in that width, and one value. The values
    are those of an (H, W, 4) picture, 255 inside and 0 outside, row by row.
    """
    flat = region.reshape(-1)
    bits = [f"{_CHANNELS * flat.size:032b}", f"{_BRUSH_WORD_BITS - 1:05b}"]
    bits += [f"{width - 1:04b}" for width in _BRUSH_WIDTHS]
    inside = bool(flat[0])
    longest = 1 << _BRUSH_WIDTHS[-1]
    for length in _run_lengths(flat):
        left = _CHANNELS * length
        while left:
            part = min(left, longest)
            which = next(number for number, width in enumerate(_BRUSH_WIDTHS) if part <= 1 << width)
            bits.append(f"1{which:02b}{part - 1:0{_BRUSH_WIDTHS[which]}b}{'1' * 8 if inside else '0' * 8}")
            left -= part
        inside = not inside
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _run_lengths(flat: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of equal values in a flat array that is not empty."""
    import numpy as np

    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    return [int(length) for length in np.diff(edges)]
