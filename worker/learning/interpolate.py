"""Masks between annotated slices, by shape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt


def interpolate_slices(
    masks: NDArray[np.uint8], known: Sequence[int], classes: Sequence[int], spacing: tuple[float, float]
) -> NDArray[np.uint8]:
    """The (Z, H, W) masks with the slices between neighbouring `known` ones filled in by shape; the others unchanged.

    Shape-based interpolation (Raya and Udupa, IEEE TMI 9(1), 1990): between two known slices the signed distances to
    each class's border are interpolated linearly in z, and a pixel is of the class that it lies deepest in. With two
    classes that is the published rule; taking the deepest of all, background included, makes the classes of one pixel
    exclude each other. Ties go to the lowest class. `spacing` is the pixel's (height, width), in any unit. A class
    that is on one of two known slices only shrinks towards the other at the pace of its own depth. Known slices must
    hold classes only. Cost: one distance transform a class and known slice.
    """
    filled = masks.copy()
    order = sorted(known)
    depths = {index: _depths(masks[index], classes, spacing) for index in order}
    values = np.asarray(classes, dtype=np.uint8)
    for first, second in pairwise(order):
        for z in range(first + 1, second):
            share = (z - first) / (second - first)
            depth = (1 - share) * depths[first] + share * depths[second]  # (C, H, W)
            filled[z] = values[depth.argmax(axis=0)]
    return filled


def _depths(mask: NDArray[np.uint8], classes: Sequence[int], spacing: tuple[float, float]) -> NDArray[np.float64]:
    """How deep each pixel lies in each class (C, H, W): half a pixel counts from the border, negative outside."""
    return np.stack([_signed_distance(mask == value, spacing) for value in classes])


def _signed_distance(region: NDArray[np.bool_], spacing: tuple[float, float]) -> NDArray[np.float64]:
    # Where a class is nowhere (or everywhere), as deep outside (inside) as the plane is wide: it never wins (loses)
    # against one that is there, and fades over the slices between.
    far = float(np.hypot(region.shape[0] * spacing[0], region.shape[1] * spacing[1]))
    inside = distance_transform_edt(region, sampling=spacing) if not region.all() else np.full(region.shape, far)
    outside = distance_transform_edt(~region, sampling=spacing) if region.any() else np.full(region.shape, far)
    signed: NDArray[np.float64] = inside - outside
    return signed
