"""The Medical Segmentation Decathlon (Antonelli et al., Nature Communications 13, 2022): `imagesTr`, `labelsTr`, and a
`dataset.json` that names the files, the labels and the modalities, against which the folder is checked.

Where a task has several modalities a file holds them as frames, of which the first is taken: the others are on the same
grid and have the same labels.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from app.datasets.folder import list_folder
from app.datasets.records import DatasetListing, Problem
from app.datasets.splits import FRACTIONS
from app.formats.files import FIRST_FRAME

_NAMED = 12


def list_decathlon(
    path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS, name: str = "decathlon"
) -> DatasetListing:
    """The training volumes of a task; what `dataset.json` says and the folder has not is said in problems and remarks.

    Raises `DatasetUnreadable` where there is no image.
    """
    listing = list_folder(path, seed=seed, fractions=fractions, name=name)
    description = _description(path)
    if description is None:
        return listing
    problems, remarks = _compared(description, listing)
    modalities = description.get("modality")
    if isinstance(modalities, dict) and len(modalities) > 1:
        words = ", ".join(str(word) for word in modalities.values())
        remarks.append(f"each file holds {len(modalities)} modalities ({words}), of which the first is taken")
        listing = replace(listing, volumes=tuple(replace(volume, part=FIRST_FRAME) for volume in listing.volumes))
    return replace(listing, problems=(*listing.problems, *problems), remarks=(*listing.remarks, *remarks))


def _description(path: Path) -> dict[str, Any] | None:
    try:
        description = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return description if isinstance(description, dict) else None


def _compared(description: dict[str, Any], listing: DatasetListing) -> tuple[list[Problem], list[str]]:
    problems: list[Problem] = []
    remarks: list[str] = []
    found = {volume.image.name: volume for volume in listing.volumes}
    announced = description.get("numTraining")
    if isinstance(announced, int) and announced != len(found):
        remarks.append(f"dataset.json announces {announced} training volumes; {len(found)} are here")
    entries = description.get("training")
    if not isinstance(entries, list):
        return problems, remarks
    # nnU-Net's own copies list plain texts, the Decathlon pairs of image and label.
    names = [str(entry.get("image", "")) if isinstance(entry, dict) else str(entry) for entry in entries]
    listed = {PurePosixPath(each).name for each in names}
    problems += [
        Problem(each, "dataset.json names it, but it is not here, or cannot be taken in")
        for each in sorted(listed - set(found))
    ]
    others = sorted(set(found) - listed)
    if others:
        shown = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
        remarks.append(f"dataset.json does not name {shown}")
    problems += [
        Problem(name, "it has no mask in labelsTr")
        for name, volume in sorted(found.items())
        if name in listed and volume.full_mask is None
    ]
    return problems, remarks
