"""ACDC as preprocessed and published with WSL4MIS: one HDF5 file a volume, intensities scaled to 0-1, no spacing.

`ACDC_training_volumes/patientNNN_frameFF.h5` (and `ACDC_testing_volumes`) with the arrays image, label and scribble,
in which 4 means unlabelled. The slice files beside them hold the same planes and are not needed.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.datasets.acdc import CLASSES, PATIENT, SCRIBBLE_UNLABELLED, published_split, read_info
from app.datasets.records import DatasetListing, Problem, VolumeSource
from app.datasets.splits import read_split_lists
from app.errors import DatasetUnreadable

_VOLUME = re.compile(r"(patient\d{3})_frame(\d+)\.h5")


def list_acdc_h5(path: Path) -> DatasetListing:
    """The volumes of the preprocessed ACDC; lists in the folder win over the published ranges of patients.

    A volume's phase is known where `ACDC_training_slices/patientNNN.cfg` names it, or where its patient has frame 01,
    which is end-diastole. Raises `DatasetUnreadable` where there is no `patientNNN_frameFF.h5`.
    """
    files = sorted(path.rglob("patient*.h5"), key=lambda file: file.name)
    found = [(match, file) for file in files if (match := _VOLUME.fullmatch(file.name))]
    if not found:
        raise DatasetUnreadable("acdc-h5", str(path), "it has no file patientNNN_frameFF.h5")
    lists = read_split_lists("acdc-h5", path, PATIENT.pattern)
    first_frames = {match[1] for match, _ in found if int(match[2]) == 1}
    volumes, problems = [], []
    for match, file in found:
        patient, frame = match[1], int(match[2])
        split = published_split(patient) if lists is None else lists.get(patient)
        if split is None:
            problems.append(Problem(file.name, "its patient stands in no split list"))
            continue
        info = read_info(path / "ACDC_training_slices" / f"{patient}.cfg")
        volumes.append(
            VolumeSource(
                patient=patient,
                name=f"frame{frame:02d}",
                group=_phase(frame, info, known_first=patient in first_frames),
                split=split,
                image=file,
                full_mask=file,
                scribble_mask=file,
                unlabelled_value=SCRIBBLE_UNLABELLED,
                attributes={"group": info["Group"]} if "Group" in info else {},
                full_part="label",
                scribble_part="scribble",
            )
        )
    return DatasetListing("acdc-h5", CLASSES, tuple(volumes), tuple(problems))


def _phase(frame: int, info: dict[str, str], *, known_first: bool) -> str:
    for phase in ("ED", "ES"):
        if info.get(phase, "").isdecimal() and int(info[phase]) == frame:
            return phase
    return ("ED" if frame == 1 else "ES") if known_first else ""
