"""Agreement of readers who drew the same slices blind: Dice, HD95 and Cohen's kappa of each class and pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Project, Slice
from app.names import UNLABELLED, Purpose
from app.services import assignments
from app.services.history import dice, version_mask
from app.services.projects import class_values
from app.storage.blobs import BlobStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class PairAgreement:
    """How far two readers agree on one class, over the slices that both read; pixels unlabelled by either do not count.

    Dice: mean over slices, those where neither has the class skipped, 0 where one has. HD95: mean over slices where
    both have it, in mm (or pixels where a volume has no spacing); `missed` counts those where one has. Kappa: of all
    pixels together, this class against the rest; None where chance alone would agree always.
    """

    readers: tuple[str, str]
    class_value: int
    slices: int = 0
    dice: float | None = None
    hd95: float | None = None
    hd95_unit: str = "mm"
    missed: int = 0
    kappa: float | None = None


@dataclass
class _Tally:
    dices: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    slices: int = 0
    missed: int = 0
    in_pixels: bool = False
    table: list[int] = field(default_factory=lambda: [0, 0, 0, 0])  # both, only the first, only the second, neither


def measure_agreement(
    session: Session, blobs: BlobStore, project: Project, most_slices: int
) -> tuple[list[PairAgreement], int]:
    """Agreement of every pair and class over the newest completely read slices, and how many these are."""
    tallies: dict[tuple[str, str, int], _Tally] = defaultdict(_Tally)
    values = class_values(project)
    compared = 0
    for slice_ in _slices_read_twice(session, project, most_slices):
        compared += 1
        readings = sorted(assignments.latest_readings(session, slice_.id), key=lambda each: each.author)
        masks = {each.author: version_mask(session, blobs, slice_, each) for each in readings}
        spacing = None if slice_.volume.spacing_mm is None else tuple(slice_.volume.spacing_mm[1:])
        for first, second in combinations(masks, 2):
            for value in values:
                _compare(tallies[first, second, value], masks[first], masks[second], value, spacing)
    return [_summary(key, tally) for key, tally in sorted(tallies.items())], compared


def hd95_in_plane(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: tuple[float, ...] | None
) -> float | None:
    """The larger of the two directed 95th percentiles of the contour distance, for (H, W) masks; None if one is empty.

    A contour is what a mask loses by one erosion with its edge neighbours (as in `worker.learning.metrics`).
    """
    import numpy as np

    if not first.any() or not second.any():
        return None
    steps = np.asarray(spacing_mm or (1.0, 1.0))
    here, there = (_contour(mask) * steps for mask in (first, second))
    return max(float(np.percentile(_nearest(*pair), 95)) for pair in ((here, there), (there, here)))


def cohen_kappa(both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """(p_o - p_e) / (1 - p_e) of a two by two table (Cohen, 1960); None where p_e is 1 or the table is empty."""
    total = both + only_first + only_second + neither
    if total == 0:
        return None
    observed = (both + neither) / total
    first, second = (both + only_first) / total, (both + only_second) / total
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else (observed - chance) / (1 - chance)


def _slices_read_twice(session: Session, project: Project, most: int) -> list[Slice]:
    read = (
        select(Annotation.slice_id)
        .join(AnnotationVersion, AnnotationVersion.annotation_id == Annotation.id)
        .where(Annotation.project_id == project.id, AnnotationVersion.purpose == Purpose.ANNOTATE)
        .group_by(Annotation.slice_id)
        .having(func.count(AnnotationVersion.author.distinct()) > 1)
    )
    # In the query, not by the list of ids: no database takes a hundred thousand of them at once.
    complete = select(Slice).where(Slice.id.in_(read), ~assignments.is_read_blind(project, Slice.id))
    return list(session.scalars(complete.order_by(Slice.id.desc()).limit(most)))


def _compare(
    tally: _Tally,
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    value: int,
    spacing_mm: tuple[float, ...] | None,
) -> None:
    known = (first != UNLABELLED) & (second != UNLABELLED)
    a, b = (first == value) & known, (second == value) & known
    tally.slices += 1
    tally.in_pixels |= spacing_mm is None
    for place, cell in enumerate((a & b, a & ~b, ~a & b, known & ~a & ~b)):
        tally.table[place] += int((cell & known).sum())
    overlap = dice(a, b)
    if overlap is not None:
        tally.dices.append(overlap)
        distance = hd95_in_plane(a, b, spacing_mm)
        if distance is None:
            tally.missed += 1
        else:
            tally.distances.append(distance)


def _summary(key: tuple[str, str, int], tally: _Tally) -> PairAgreement:
    return PairAgreement(
        readers=(key[0], key[1]),
        class_value=key[2],
        slices=tally.slices,
        dice=fmean(tally.dices) if tally.dices else None,
        hd95=fmean(tally.distances) if tally.distances else None,
        hd95_unit="pixel" if tally.in_pixels else "mm",
        missed=tally.missed,
        kappa=cohen_kappa(*tally.table),
    )


def _contour(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    import numpy as np

    framed = np.pad(mask, 1)
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.argwhere(mask & ~inner)  # (P, 2)


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    # In blocks: a contour of some thousand pixels against another is some hundred MB of distances at once.
    blocks = [points[start : start + 256] for start in range(0, len(points), 256)]
    squares = [((block[:, None] - others[None]) ** 2).sum(axis=2).min(axis=1) for block in blocks]
    nearest: NDArray[np.float64] = np.sqrt(np.concatenate(squares))
    return nearest
