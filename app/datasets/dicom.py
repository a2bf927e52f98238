"""A folder of DICOM files of any layout: every volume found in it, one patient for each patient in the files.

Patients get numbers for names, because those in the files are people's.
"""

from __future__ import annotations

from pathlib import Path

from app.datasets.records import DatasetListing, Problem, VolumeSource, suggest_class
from app.datasets.splits import FRACTIONS, draw_splits
from app.errors import DatasetUnreadable
from app.formats.dicom import find_dicom_volumes

_CLASSES = (suggest_class(0, "background"), suggest_class(1, "label 1"))


def list_dicom(path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS) -> DatasetListing:
    """The volumes of a folder, split by patient as drawn, with the files that are part of none in the problems.

    Raises `DatasetUnreadable` where there is no DICOM image.
    """
    volumes, refused = find_dicom_volumes(path)
    if not volumes:
        raise DatasetUnreadable("dicom", str(path), "it holds no DICOM image")
    # Files without a patient's number belong together where they lie in one folder.
    owners = [volume.patient or str(volume.pictures[0].path.parent) for volume in volumes]
    codes = {owner: f"patient{number:03d}" for number, owner in enumerate(sorted(set(owners)), start=1)}
    split_of = draw_splits(codes.values(), seed, fractions)
    sources = [
        VolumeSource(
            patient=codes[owner],
            name=f"volume{number:03d}",
            group=volume.description,
            split=split_of[codes[owner]],
            image=path,
            part=volume.part,
            attributes={"remarks": list(volume.remarks)} if volume.remarks else {},
        )
        for number, (owner, volume) in enumerate(zip(owners, volumes, strict=True), start=1)
    ]
    problems = [Problem(str(file.path.relative_to(path)), file.reason) for file in refused]
    return DatasetListing("dicom", _CLASSES, tuple(sources), tuple(problems))
