"""How well a predicted volume agrees with its reference: Dice, and the distances of their surfaces (HD95, ASD)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import KDTree

from worker.learning.errors import BadInputError, ShapeError
from worker.learning.shapes import UNLABELLED, LabelArray, Spacing

BoolArray = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassScore:
    """One class of one volume.

    Empty in prediction and reference: Dice and distances are None and the class is skipped in every mean. Empty in one
    of them: Dice 0, the distances None and `missed`, so that a miss never looks like a hit.
    """

    value: int  # the class
    dice: float | None
    hd95: float | None  # in `unit`
    asd: float | None  # in `unit`
    unit: str  # "mm", or "voxel" where the spacing is unknown
    missed: bool
    true_positives: int  # voxels
    false_positives: int
    false_negatives: int
    slice_counts: tuple[tuple[int, int, int], ...]  # the same three for each of the Z slices


def score_volume(
    prediction: npt.NDArray[np.generic], reference: LabelArray, classes: Sequence[int], spacing: Spacing | None
) -> tuple[ClassScore, ...]:
    """Give the scores of each of `classes`, from label volumes (Z, H, W) and the spacing in millimetres (z, y, x).

    Voxels whose reference is 255 (unlabelled) count nowhere. Raises ShapeError when the volumes differ, BadInputError
    for a spacing that is not positive.
    """
    if prediction.ndim != 3 or prediction.shape != reference.shape:
        raise ShapeError("predicted labels", str(reference.shape), prediction.shape)
    if spacing is not None and not all(0 < step < float("inf") for step in spacing):
        raise BadInputError(f"A spacing must be positive along each axis, not {spacing}.")
    known = reference != UNLABELLED
    return tuple(score_class((prediction == value) & known, reference == value, value, spacing) for value in classes)


def score_class(prediction: BoolArray, reference: BoolArray, value: int, spacing: Spacing | None) -> ClassScore:
    """Give the score of one class from its two (Z, H, W) masks."""
    hits = np.count_nonzero(prediction & reference, axis=(1, 2))
    false_alarms = np.count_nonzero(prediction & ~reference, axis=(1, 2))
    omissions = np.count_nonzero(reference & ~prediction, axis=(1, 2))
    distances = surface_distances(prediction, reference, spacing)
    totals = (int(hits.sum()), int(false_alarms.sum()), int(omissions.sum()))
    rows = zip(hits.tolist(), false_alarms.tolist(), omissions.tolist(), strict=True)
    return ClassScore(
        value=value,
        dice=dice_of_counts(*totals),
        hd95=None if distances is None else larger_percentile(*distances),
        asd=None if distances is None else mean_distance(*distances),
        unit="voxel" if spacing is None else "mm",
        missed=bool(prediction.any()) != bool(reference.any()),
        true_positives=totals[0],
        false_positives=totals[1],
        false_negatives=totals[2],
        slice_counts=tuple(rows),
    )


def dice_of_counts(true_positives: int, false_positives: int, false_negatives: int) -> float | None:
    """Give 2 TP / (2 TP + FP + FN); None where all three are 0, for then there was nothing to find."""
    denominator = 2 * true_positives + false_positives + false_negatives
    return 2 * true_positives / denominator if denominator else None


def hd95(prediction: BoolArray, reference: BoolArray, spacing: Spacing | None) -> float | None:
    """Give the larger of the two directed 95th percentiles of the surface distance, for (Z, H, W) masks.

    In millimetres with a spacing (z, y, x), else in voxels; the percentile interpolates linearly. None when either mask
    is empty: the caller tells a miss from a class that is not there.
    """
    distances = surface_distances(prediction, reference, spacing)
    return None if distances is None else larger_percentile(*distances)


def asd(prediction: BoolArray, reference: BoolArray, spacing: Spacing | None) -> float | None:
    """Give the average symmetric surface distance: the mean over all points of both surfaces; otherwise as `hd95`."""
    distances = surface_distances(prediction, reference, spacing)
    return None if distances is None else mean_distance(*distances)


def surface_distances(
    prediction: BoolArray, reference: BoolArray, spacing: Spacing | None
) -> tuple[Distances, Distances] | None:
    """Give the distance of each surface point to the other surface, there and back; None when either mask is empty.

    A surface is what a mask loses by one erosion with its face neighbours. A volume of one slice is measured in its
    plane, where not every pixel is surface.
    """
    if not prediction.any() or not reference.any():
        return None
    box = find_objects((prediction | reference).astype(np.uint8))[0]  # nothing outside it can be surface
    steps = np.asarray(spacing or (1.0, 1.0, 1.0))
    in_plane = len(prediction) == 1
    points = _surface_points(prediction[box], steps, in_plane=in_plane)
    other = _surface_points(reference[box], steps, in_plane=in_plane)
    # Nearest neighbours between two surfaces: far fewer points than a distance transform has voxels.
    there, _ = KDTree(other).query(points)
    back, _ = KDTree(points).query(other)
    return np.asarray(there), np.asarray(back)


def larger_percentile(there: Distances, back: Distances) -> float:
    """Give the HD95 of two sets of surface distances."""
    return max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))


def mean_distance(there: Distances, back: Distances) -> float:
    """Give the ASD of two sets of surface distances."""
    return float(np.concatenate([there, back]).mean())


def mean_dice(volumes: Iterable[Iterable[float | None]]) -> float | None:
    """Give the mean over volumes of the mean over classes of their Dice, skipping None; None if nothing is left."""
    kept = ([score for score in scores if score is not None] for scores in volumes)
    means = [fmean(scores) for scores in kept if scores]
    return fmean(means) if means else None


def _surface_points(mask: BoolArray, steps: npt.NDArray[np.float64], *, in_plane: bool) -> npt.NDArray[np.float64]:
    """Give the positions (P, 3) of a mask's surface voxels, scaled by `steps`."""
    inner = binary_erosion(mask[0])[None] if in_plane else binary_erosion(mask)
    return np.argwhere(mask & ~inner) * steps
