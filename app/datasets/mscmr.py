"""MS-CMR late-enhancement MR of the heart (Zhuang et al.) with the scribbles and the split of CycleMix (CVPR 2022).

`{train,val,TestSet}/{images,labels}/subjectN_DE*.nii.gz`: labels end in `_scribble` (4 = unlabelled) or in `_manual`,
whose values are either 0-3 or the challenge's 200, 500 and 600.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.datasets.records import TEST, TRAIN, VALIDATION, DatasetListing, Problem, VolumeSource, suggest_class
from app.errors import DatasetUnreadable
from app.formats.files import image_stem
from app.formats.frames import natural_key

CLASSES = tuple(suggest_class(value, name) for value, name in enumerate(("background", "RV", "Myo", "LV")))
SCRIBBLE_UNLABELLED = 4

_MASK_VALUES = {0: 0, 1: 1, 2: 2, 3: 3, 600: 1, 200: 2, 500: 3}
_STEM = re.compile(r"(subject\d+)_DE(?:_(scribble|manual))?", re.IGNORECASE)
_FOLDERS = {"train": TRAIN, "trainset": TRAIN, "val": VALIDATION, "valset": VALIDATION, "test": TEST, "testset": TEST}
_VALIDATION = frozenset((1, 8, 29, 36, 41))
_TEST = frozenset((3, 5, 10, 11, 12, 16, 17, 23, 28, 30, 33, 35, 38, 40, 43))


def list_mscmr(path: Path) -> DatasetListing:
    """The late-enhancement volumes: one a subject, in the split of the folder that it lies in, else the published one.

    Raises `DatasetUnreadable` where there is no file `subjectN_DE.nii.gz`, or a subject lies in two splits.
    """
    files: dict[str, dict[str, Path]] = {}
    problems = []
    for file in sorted(path.rglob("subject*")):
        match = _STEM.fullmatch(image_stem(file) or "")
        if match is None or not file.is_file():
            continue
        role = (match[2] or "image").lower()
        if role in files.setdefault(match[1].lower(), {}):
            problems.append(Problem(file.name, "the same file stands elsewhere in the folder and was taken from there"))
            continue
        files[match[1].lower()][role] = file
    volumes = []
    for subject, found in sorted(files.items(), key=lambda pair: natural_key(pair[0])):
        if "image" not in found:
            problems.append(Problem(subject, "it has a mask but no image"))
            continue
        volumes.append(_volume(subject, found, _split(path, subject, found)))
    if not volumes:
        raise DatasetUnreadable("mscmr", str(path), "it has no file subjectN_DE.nii.gz")
    return DatasetListing("mscmr", CLASSES, tuple(volumes), tuple(problems))


def _split(path: Path, subject: str, files: dict[str, Path]) -> str:
    told = {
        _FOLDERS[part.lower()]
        for file in files.values()
        for part in file.relative_to(path).parts[:-1]
        if part.lower() in _FOLDERS
    }
    if len(told) > 1:
        raise DatasetUnreadable("mscmr", str(path), f"{subject} lies in the folders of {' and '.join(sorted(told))}")
    if told:
        return told.pop()
    number = int(subject.removeprefix("subject"))
    return VALIDATION if number in _VALIDATION else TEST if number in _TEST else TRAIN


def _volume(subject: str, files: dict[str, Path], split: str) -> VolumeSource:
    return VolumeSource(
        patient=subject,
        name="DE",
        group="",
        split=split,
        image=files["image"],
        full_mask=files.get("manual"),
        scribble_mask=files.get("scribble"),
        unlabelled_value=SCRIBBLE_UNLABELLED if "scribble" in files else None,
        mask_values=_MASK_VALUES,
    )
