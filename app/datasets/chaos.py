"""CHAOS abdominal CT and MR (Kavur et al., Medical Image Analysis 69, 2021) in its native layout.

`CT/<n>/DICOM_anon/*.dcm` with `CT/<n>/Ground/*.png`: classes background and liver. `MR/<n>/T1DUAL` and
`MR/<n>/T2SPIR`, each with `DICOM_anon` (T1DUAL: `InPhase` and `OutPhase` below it, one mask for both) and `Ground`:
four organs. Picture k of `Ground` belongs to file k of the series in order of file names, not in order of place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.datasets.records import TEST, TRAIN, VALIDATION, DatasetListing, Problem, VolumeSource, suggest_class
from app.datasets.splits import FRACTIONS, draw_splits, read_split_lists
from app.errors import DatasetUnreadable
from app.formats.frames import natural_key

CT_CLASSES = tuple(suggest_class(value, name) for value, name in enumerate(("background", "liver")))
MR_CLASSES = tuple(
    suggest_class(value, name)
    for value, name in enumerate(("background", "liver", "right kidney", "left kidney", "spleen"))
)
# One-bit and 8-bit pictures are both in circulation.
_CT_VALUES = {0: 0, 1: 1, 255: 1}
# The organs' grey values vary from picture to picture; these are the ranges that the organisers give.
_MR_VALUES: Mapping[int, int] = {0: 0} | {
    grey: organ
    for organ, (first, last) in enumerate(((55, 70), (110, 135), (175, 200), (240, 255)), start=1)
    for grey in range(first, last + 1)
}
# As stored with the paper's code (Vepa et al., NeurIPS 2024); every other patient trains.
_PUBLISHED = {2: VALIDATION, 14: VALIDATION, 8: TEST, 22: TEST, 24: TEST}


def list_chaos_ct(path: Path) -> DatasetListing:
    """The CT volumes: one a patient; lists in the folder win over the published split.

    Raises `DatasetUnreadable` where there is no `CT/<n>/DICOM_anon`.
    """
    folders = {
        series.parent.name: series for series in path.rglob("DICOM_anon") if series.parent.parent.name.upper() == "CT"
    }
    if not folders:
        raise DatasetUnreadable("chaos", str(path), "it has no folder CT/<number>/DICOM_anon")
    lists = read_split_lists("chaos", path)
    volumes, problems = [], []
    for number, series in sorted(folders.items(), key=lambda pair: natural_key(pair[0])):
        split = _published_split(number) if lists is None else lists.get(number)
        if split is None:
            problems.append(Problem(f"CT {number}", "it stands in no split list"))
            continue
        volumes.append(_volume("ct", number, "CT", series, series.parent / "Ground", split, _CT_VALUES))
    return DatasetListing("chaos", CT_CLASSES, tuple(volumes), tuple(problems))


def list_chaos_mr(path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS) -> DatasetListing:
    """The MR volumes: T1 in and out of phase and T2 of each patient, split by patient as drawn or listed.

    Raises `DatasetUnreadable` where there is no `MR/<n>/<sequence>/DICOM_anon`.
    """
    found = sorted(
        (series for series in path.rglob("DICOM_anon") if series.parents[2].name.upper() == "MR"),
        key=lambda series: (natural_key(series.parents[1].name), series.parent.name),
    )
    if not found:
        raise DatasetUnreadable("chaos-mr", str(path), "it has no folder MR/<number>/<sequence>/DICOM_anon")
    numbers = [series.parents[1].name for series in found]
    lists = read_split_lists("chaos-mr", path)
    split_of = draw_splits(numbers, seed, fractions) if lists is None else lists
    volumes, problems = [], []
    for series, number in zip(found, numbers, strict=True):
        if number not in split_of:
            problems.append(Problem(f"MR {number}", "it stands in no split list"))
            continue
        phases = [phase for phase in sorted(series.iterdir()) if phase.is_dir()] or [series]
        for phase in phases:
            name = series.parent.name if phase == series else f"{series.parent.name} {phase.name}"
            ground = series.parent / "Ground"
            volumes.append(_volume("mr", number, name, phase, ground, split_of[number], _MR_VALUES))
    return DatasetListing("chaos-mr", MR_CLASSES, tuple(volumes), tuple(problems))


def _published_split(number: str) -> str:
    return _PUBLISHED.get(int(number), TRAIN) if number.isdecimal() else TRAIN


def _volume(
    modality: str, number: str, name: str, series: Path, ground: Path, split: str, values: Mapping[int, int]
) -> VolumeSource:
    has_mask = ground.is_dir() and any(ground.iterdir())
    return VolumeSource(
        # CT 3 and MR 3 are different people.
        patient=f"{modality}-{number}",
        name=name,
        group=name,
        split=split,
        image=series,
        full_mask=ground if has_mask else None,
        mask_values=values,
    )
