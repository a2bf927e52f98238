"""Scribbles for data that has masks only, drawn as a hand would draw them.

Fitted to what people drew on the train patients of ACDC (Valvano et al., IEEE TMI 40(8), 2021): curves one pixel
thick, one or a few pieces a structure, about an eighth of its pixels, well inside of it, and a loop of background
around all structures. `benchmarks/scribble_statistics.py` puts both side by side. The skeletons that other simulators
draw cover half of a ring and a dot of a disc, and their background runs into the corners.

A structure's curve is the outline of its inner part: all that lies deeper than a drawn share of its greatest depth,
the depth wavering smoothly as a hand does. Everything follows from the seed, the volume and the slice.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from app.datasets.records import DatasetListing, has_full_mask
from app.errors import MissingExtra
from app.names import UNLABELLED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BACKGROUND = 0

# Of a structure with a greatest depth below this share of the root of its area (a ring, a crescent) the curve follows
# the middle; above it (a disc: 0.56) there is room for a curve at many depths.
_THIN = 0.3
_SMALL_PIECE = 0.1  # pieces of a class below this share of its largest one are left alone, as people do
_COVERAGE = {True: (0.16, 0.45), False: (0.097, 0.42)}  # thin or not: median and log-spread of the share drawn
_PIECES = {True: (0.46, 0.36, 0.18), False: (0.97, 0.03)}  # how often a structure gets 1, 2, 3 strokes
_LOOP_PX = (12.5, 0.50)  # the background's distance from the structures: median and log-spread, at 256 pixels a side
_LOOP_CLOSED = 0.82  # of the loops
_NOMINAL_SIDE = 256.0
# Clockwise around a pixel, as (row, column); needed to walk along an outline.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def simulate_scribbles(mask: NDArray[np.uint8], seed: int, name: str) -> NDArray[np.uint8]:
    """Scribbles (Z, H, W) uint8 of a dense mask (Z, H, W), 255 where nothing is drawn.

    A class that is on a slice, background included, gets at least one pixel there, and no pixel gets another class
    than the mask's. Slice z depends on `seed`, `name`, z and its own mask alone.
    """
    import numpy as np

    drawn = np.full(mask.shape, UNLABELLED, dtype=np.uint8)
    for z, plane in enumerate(mask):
        generator = np.random.default_rng([seed, zlib.crc32(name.encode()), z])
        for value in np.unique(plane):
            if value == UNLABELLED:
                continue
            region = plane == value
            if value == _BACKGROUND:
                strokes = _draw_background(region, (plane != _BACKGROUND) & (plane != UNLABELLED), generator)
            else:
                strokes = _draw_structure(region, generator)
            strokes &= region
            drawn[z][strokes if strokes.any() else _deepest_pixel(region)] = value
    return drawn


def with_simulated_scribbles(listing: DatasetListing, seed: int) -> DatasetListing:
    """The listing with scribbles for every volume that has a dense mask and none; raises `MissingExtra`."""
    if find_spec("scipy") is None:
        raise MissingExtra("masks to draw scribbles from them", "train")
    volumes = tuple(
        replace(
            each,
            simulated_seed=seed,
            attributes={**each.attributes, "scribbles": f"simulated from the dense mask, seed {seed}"},
        )
        if each.scribble_mask is None and has_full_mask(each)
        else each
        for each in listing.volumes
    )
    count = sum(each.simulated_seed is not None for each in volumes)
    remark = f"the scribbles of {count} volumes are simulated from their masks, seed {seed}"
    return replace(listing, volumes=volumes, remarks=(*listing.remarks, remark))


def _draw_structure(region: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """One or a few strokes within every piece of a structure that is not small beside the largest."""
    import numpy as np
    from scipy.ndimage import label

    labels, count = label(region, np.ones((3, 3)))
    areas = np.bincount(labels.reshape(-1), minlength=count + 1)[1:]
    strokes = np.zeros(region.shape, dtype=bool)
    for piece in np.flatnonzero(areas >= _SMALL_PIECE * areas.max()) + 1:
        strokes |= _draw_piece(labels == piece, generator)
    return strokes


def _draw_piece(piece: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    import numpy as np
    from scipy.ndimage import binary_fill_holes

    area = int(piece.sum())
    depth = _depth(piece)
    greatest = float(depth.max())
    thin = greatest < _THIN * area**0.5
    median, spread = _COVERAGE[thin]
    wanted = max(1.0, area * float(np.exp(generator.normal(np.log(median), spread))))
    # A ring must stay closed, or the outline would run along both sides of what is left of it.
    wavering = _waver(piece.shape, 5.0, generator) * min(1.5, (0.05 if thin else 0.15) * greatest)
    deep = depth + wavering

    def outline(share: float) -> list[tuple[int, int]]:
        inner = piece & (deep >= share * greatest) & (depth >= min(2.0, greatest))
        return _walk_outline(binary_fill_holes(_largest(inner))) if inner.any() else []

    first = outline(generator.uniform(0.35, 0.6) if thin else generator.uniform(0.25, 0.5))
    if not first:
        return _deepest_pixel(piece)
    lines = [first]
    if thin:
        around_hole = _outline_of_hole(piece & (deep >= generator.uniform(0.3, 0.6) * greatest) & (depth >= 2))
        if around_hole and generator.random() < 0.5:
            lines = [around_hole]
    elif wanted > 1.2 * len(first):
        lines = [_joined(first, outline(generator.uniform(0.65, 0.85)))]
    pieces = 1 + int(generator.choice(len(_PIECES[thin]), p=_PIECES[thin]))
    strokes = np.zeros(piece.shape, dtype=bool)
    for line in lines:
        strokes |= _paint(piece.shape, _cut(line, wanted / len(lines), pieces, generator))
    return strokes


def _joined(outer: list[tuple[int, int]], inner: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Two outlines as one line, as of a hand that goes round twice, straight across in between."""
    if not inner:
        return outer
    start = outer[-1]
    near = min(
        range(len(inner)), key=lambda place: max(abs(inner[place][0] - start[0]), abs(inner[place][1] - start[1]))
    )
    goal = inner[near]
    steps = max(abs(goal[0] - start[0]), abs(goal[1] - start[1]))
    across = [
        (
            start[0] + round((goal[0] - start[0]) * step / steps),
            start[1] + round((goal[1] - start[1]) * step / steps),
        )
        for step in range(1, steps)
    ]
    return outer + across + inner[near:] + inner[:near]


def _draw_background(
    background: NDArray[np.bool_], structures: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.bool_]:
    """A loop around all structures, at a distance that wavers; where there are none, a loop somewhere."""
    import numpy as np
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter

    height, width = background.shape
    scale = min(height, width) / _NOMINAL_SIDE
    if structures.any():
        # Smoothed, for a hand cuts across the notches between structures.
        distance = gaussian_filter(distance_transform_edt(~structures), 5.0 * scale)
        median, spread = _LOOP_PX
        level = max(2.0, scale * float(np.exp(generator.normal(np.log(median), spread))))
    else:
        rows, columns = np.ogrid[:height, :width]
        centre = np.array([height, width]) * generator.uniform(0.4, 0.6, 2)
        distance = np.hypot(rows - centre[0], columns - centre[1])
        level = generator.uniform(0.1, 0.2) * min(height, width)
    wavering = _waver(background.shape, 20.0 * max(scale, 0.3), generator) * 0.3 * level
    within = binary_fill_holes((distance + wavering <= level) | (distance <= min(3.0, level)))
    line = _walk_outline(_largest(within))
    # What runs along the border of the picture is where the loop leaves it.
    line = [(row, column) for row, column in line if 0 < row < height - 1 and 0 < column < width - 1]
    if generator.random() > _LOOP_CLOSED and len(line) > 4:
        gap = int(generator.uniform(0.05, 0.25) * len(line))
        start = int(generator.integers(len(line)))
        line = (line + line)[start : start + len(line) - gap]
    strokes = _paint(background.shape, line) & background
    return strokes if strokes.any() else _draw_structure(background, generator)


def _depth(region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each pixel of a region to the nearest one outside, beyond the border of the picture included."""
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    padded: NDArray[np.float64] = distance_transform_edt(np.pad(region, 1))
    return padded[1:-1, 1:-1]


def _deepest_pixel(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import numpy as np

    one = np.zeros(region.shape, dtype=bool)
    one.flat[int(np.argmax(_depth(region)))] = True
    return one


def _waver(shape: tuple[int, ...], width_px: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """A smooth random field of mean 0 and spread 1 that changes over about `width_px`."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    field: NDArray[np.float64] = gaussian_filter(generator.normal(size=shape), width_px, mode="wrap")
    spread = float(field.std())
    return field / spread if spread > 0 else np.zeros(shape)


def _largest(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of a region that is not empty."""
    import numpy as np
    from scipy.ndimage import label

    labels, count = label(region, np.ones((3, 3)))
    areas = np.bincount(labels.reshape(-1), minlength=count + 1)
    areas[0] = 0
    chosen: NDArray[np.bool_] = labels == int(areas.argmax())
    return chosen


def _outline_of_hole(inner: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
    """The outline along the inner side of a ring, or None where there is no hole."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    holes = binary_fill_holes(inner) & ~inner
    if not holes.any():
        return None
    return _walk_outline(binary_dilation(_largest(holes)))


def _walk_outline(region: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The outline pixels of a piece in order, clockwise (Moore's neighbourhood, stopped as Jacob proposed)."""
    import numpy as np

    padded = np.pad(region, 1)
    inside = padded.tolist()  # single look-ups are many times as fast in a list
    row, column = (int(each[0]) for each in np.nonzero(padded))
    line, place, back = [], (row, column), 6  # entered from the left
    first = (place, back)
    while True:
        line.append((place[0] - 1, place[1] - 1))
        for turn in range(1, 9):
            direction = (back + turn) % 8
            ahead = (place[0] + _AROUND[direction][0], place[1] + _AROUND[direction][1])
            if inside[ahead[0]][ahead[1]]:
                # Seen from there, the pixel that was looked at last (which is outside) lies in this direction.
                last = _AROUND[(direction - 1) % 8]
                outside = (place[0] + last[0] - ahead[0], place[1] + last[1] - ahead[1])
                place, back = ahead, _AROUND.index(outside)
                break
        else:
            return line  # a single pixel
        if (place, back) == first or len(line) > 4 * padded.size:
            return line


def _cut(
    line: list[tuple[int, int]], wanted: float, pieces: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """`pieces` stretches of a closed line, about `wanted` pixels in all and evenly parted; all of a shorter line."""
    whole = len(line)
    wanted = min(wanted, whole)
    if wanted >= 0.95 * whole and pieces == 1:
        return line
    start = int(generator.integers(whole))
    pitch = whole / pieces
    length = min(wanted / pieces, pitch - 3)  # so that neighbours do not touch
    kept = []
    for number in range(pieces):
        begin = start + round(number * pitch)
        kept += [line[(begin + step) % whole] for step in range(max(1, round(length)))]
    return kept


def _paint(shape: tuple[int, ...], line: Collection[tuple[int, int]]) -> NDArray[np.bool_]:
    """The line's pixels; where it goes on aslant, the corner too, as drawing programs do."""
    import numpy as np

    strokes = np.zeros(shape, dtype=bool)
    before: tuple[int, int] | None = None
    for row, column in line:
        strokes[row, column] = True
        if before is not None and abs(row - before[0]) == abs(column - before[1]) == 1:
            strokes[before[0], column] = True
        before = (row, column)
    return strokes
