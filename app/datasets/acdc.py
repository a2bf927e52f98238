"""ACDC cine MR of the heart (Bernard et al., IEEE TMI 37(11), 2018) in its genuine layout.

`patientNNN/Info.cfg` names the end-diastolic and end-systolic frame (patient090 has 04 and 11, all others 01 and
another); each is one volume, with `_gt` beside it and, where they were added, the hand-drawn scribbles of Valvano et
al. (IEEE TMI 40(8), 2021) as `_scribble`, in which 4 means unlabelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from app.datasets.records import TEST, TRAIN, VALIDATION, DatasetListing, Problem, VolumeSource, suggest_class
from app.datasets.splits import read_split_lists
from app.errors import DatasetUnreadable

CLASSES = tuple(suggest_class(value, name) for value, name in enumerate(("background", "RV", "Myo", "LV")))
SCRIBBLE_UNLABELLED = 4

PATIENT = re.compile(r"patient(\d{3})")
_PHASES = ("ED", "ES")


def list_acdc(path: Path, *, name: str = "acdc") -> DatasetListing:
    """The volumes of an ACDC folder: two a patient, end-diastole first.

    Lists in the folder (train.txt, val.txt, test.txt) win; without them patients 1-80 train, 81-100 validate and
    101-150 test, as published by Vepa et al. Patients that cannot be used are named in the problems.
    Raises `DatasetUnreadable` where there is no patient folder, or a patient stands in two lists.
    """
    folders = {folder.name: folder for folder in sorted(path.rglob("patient*")) if _is_patient(folder)}
    if not folders:
        raise DatasetUnreadable(name, str(path), "it has no folder patientNNN")
    lists = read_split_lists(name, path, PATIENT.pattern)
    problems = [
        Problem(patient, "it stands in a split list but has no folder")
        for patient in sorted(lists or ())
        if patient not in folders
    ]
    volumes: list[VolumeSource] = []
    for patient, folder in sorted(folders.items()):
        split = published_split(patient) if lists is None else lists.get(patient)
        if split is None:
            problems.append(Problem(patient, "it stands in no split list"))
            continue
        found, reasons = _list_patient(folder, split)
        volumes += found
        problems += [Problem(patient, reason) for reason in reasons]
    return DatasetListing(name, CLASSES, tuple(volumes), tuple(problems))


def published_split(patient: str) -> str | None:
    """The split of patientNNN as published, None beyond patient150."""
    number = int(patient.removeprefix("patient"))
    for last, split in ((0, None), (80, TRAIN), (100, VALIDATION), (150, TEST)):
        if number <= last:
            return split
    return None


def read_info(path: Path) -> dict[str, str]:
    """The entries of an Info.cfg; none where there is no such file."""
    if not path.is_file():
        return {}
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key.strip(): value.strip() for key, separator, value in pairs if separator}


def _is_patient(folder: Path) -> bool:
    return PATIENT.fullmatch(folder.name) is not None and folder.is_dir()


def _list_patient(folder: Path, split: str) -> tuple[list[VolumeSource], list[str]]:
    info = read_info(folder / "Info.cfg")
    volumes, reasons = [], []
    for phase in _PHASES:
        if not info.get(phase, "").isdecimal():
            reasons.append(f"its Info.cfg names no {phase} frame")
            continue
        frame = f"frame{int(info[phase]):02d}"
        image = _existing(folder, f"{folder.name}_{frame}")
        if image is None:
            reasons.append(f"the file of its {phase} frame {frame} is missing")
            continue
        volumes.append(_volume(folder, frame, phase, split, image, info))
    return volumes, reasons


def _volume(folder: Path, frame: str, phase: str, split: str, image: Path, info: Mapping[str, str]) -> VolumeSource:
    scribble = _existing(folder, f"{folder.name}_{frame}_scribble")
    return VolumeSource(
        patient=folder.name,
        name=frame,
        group=phase,
        split=split,
        image=image,
        full_mask=_existing(folder, f"{folder.name}_{frame}_gt"),
        scribble_mask=scribble,
        unlabelled_value=None if scribble is None else SCRIBBLE_UNLABELLED,
        attributes={key.lower(): info[key] for key in ("Group", "Height", "Weight", "NbFrame") if key in info},
    )


def _existing(folder: Path, stem: str) -> Path | None:
    for suffix in (".nii.gz", ".nii"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None
