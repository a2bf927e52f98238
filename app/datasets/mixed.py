"""Whatever lies in a folder: a known data set by its layout, else every image that can be found in it, of any format.

Every file ends in a volume, as a companion of one, or by name among the problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from app.datasets.decathlon import list_decathlon
from app.datasets.dicom import list_any_dicom
from app.datasets.pictures import is_hidden, is_picture, list_pictures
from app.datasets.records import DatasetListing, LabelClass, Problem, VolumeSource, suggest_class
from app.datasets.splits import FRACTIONS, draw_splits, read_split_lists
from app.errors import DatasetUnreadable
from app.formats.files import companion_files, image_stem

_SIDE_FILES = re.compile(
    r"(train|val|validation|test)\.txt|dataset\.json|info\.cfg|dicomdir|(readme|license|licence|mandatory).*",
    re.IGNORECASE,
)
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")
_LAYOUTS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("acdc", lambda name: bool(re.search(r"(^|/)patient\d{3}/Info\.cfg$", name))),
    ("acdc-h5", lambda name: bool(re.search(r"(^|/)patient\d{3}_frame\d+\.h5$", name))),
    ("mscmr", lambda name: bool(re.search(r"(^|/)subject\d+_DE(_manual|_scribble)?\.nii(\.gz)?$", name))),
    ("davis", lambda name: bool(re.search(r"^JPEGImages/[^/]+/[^/]+/[^/]+\.jpg$", name))),
    ("chaos-mr", lambda name: bool(re.search(r"(^|/)MR/[^/]+/[^/]+/DICOM_anon/", name))),
    ("chaos", lambda name: bool(re.search(r"(^|/)CT/[^/]+/DICOM_anon/", name))),
)


def only_folder(path: Path) -> Path:
    """The folder that a folder is only the wrapping of, as most archives have one."""
    while True:
        inner = [each for each in path.iterdir() if not is_hidden(Path(each.name))]
        if len(inner) != 1 or not inner[0].is_dir():
            return path
        path = inner[0]


def recognise_layout(path: Path) -> str:
    """The name of the importer that a folder is laid out for; "mixed" for none."""
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    return next((layout for layout, fits in _LAYOUTS if any(map(fits, names))), "mixed")


def list_mixed(
    path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS, key: bytes = b""
) -> DatasetListing:
    """The volumes of a folder whatever their formats, and by name every file that is part of none.

    Lists in the folder (train.txt, val.txt, test.txt) win over the draw of the splits. Raises `DatasetUnreadable` where
    there is no image at all.
    """
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    seen = [file for file in files if not is_hidden(file.relative_to(path))]
    named = [file for file in seen if image_stem(file) is not None]
    found: list[DatasetListing] = []
    problems: list[Problem] = []
    if named:
        try:
            found.append(list_decathlon(path, seed=seed, fractions=fractions, name="mixed"))
        except DatasetUnreadable as refusal:
            problems.append(Problem(named[0].name, refusal.reason))
    pictures, picture_problems = list_pictures(path)
    rest = _rest(seen, named)
    if rest:
        found.append(list_any_dicom(path, seed=seed, fractions=fractions, key=key))
    volumes = [*_placed(path, pictures, seed, fractions), *(volume for each in found for volume in each.volumes)]
    problems += picture_problems
    problems += _distinct(found, path, rest, taken=_dicom_files(volumes))
    if not volumes:
        reasons = "; ".join(f"{problem.name}: {problem.reason}" for problem in problems[:12]) or "it is empty"
        raise DatasetUnreadable("mixed", path.name, f"it holds no image that can be taken in ({reasons})")
    hidden = len(files) - len(seen)
    remarks: tuple[str, ...] = (f"{hidden} hidden files were passed over",) if hidden else ()
    remarks += tuple(remark for each in found for remark in each.remarks)
    return DatasetListing("mixed", _classes(found), tuple(volumes), tuple(problems), remarks)


def _rest(seen: Iterable[Path], named: Iterable[Path]) -> list[Path]:
    """What is neither a named 3-D format nor a picture: DICOM, or nothing that is known."""
    known = {*named, *(companion for file in named for companion in companion_files(file))}
    return [
        file for file in seen if file not in known and not is_picture(file) and not _SIDE_FILES.fullmatch(file.name)
    ]


def _dicom_files(volumes: Iterable[VolumeSource]) -> set[Path]:
    pictures = {picture.path for volume in volumes if volume.dicom is not None for picture in volume.dicom.pictures}
    return pictures | {source.header.path for volume in volumes for source in volume.segmentations}


def _distinct(found: Iterable[DatasetListing], path: Path, rest: Iterable[Path], taken: set[Path]) -> list[Problem]:
    """The problems of all importers; what only one of them does not know is none where another one took it."""
    problems = [problem for each in found if each.name != "dicom" for problem in each.problems]
    dicom = {problem.name: problem.reason for each in found if each.name == "dicom" for problem in each.problems}
    for file in rest:
        if file in taken:
            continue
        name = str(file.relative_to(path))
        problems.append(Problem(name, _reason(file, dicom.get(name, ""))))
    return problems


def _reason(file: Path, dicom_reason: str) -> str:
    lower = file.name.lower()
    if lower.endswith(_VIDEOS):
        return "it is a video: give its frames as numbered pictures in a folder"
    if lower.endswith((".hdr", ".img")):
        return "it is half of an Analyze or two-file NIfTI image: convert it into one .nii file"
    if lower.endswith(_ARCHIVES):
        return "it is an archive within the upload: give its files themselves"
    if not dicom_reason or "no sound DICOM file" in dicom_reason:
        return "it is of no format that is known here"
    return dicom_reason


def _placed(
    path: Path, pictures: list[VolumeSource], seed: int, fractions: tuple[float, float, float]
) -> list[VolumeSource]:
    lists = read_split_lists("mixed", path) or {}
    drawn = draw_splits((volume.patient for volume in pictures), seed, fractions)
    return [replace(volume, split=lists.get(volume.patient, drawn[volume.patient])) for volume in pictures]


def _classes(found: Iterable[DatasetListing]) -> tuple[LabelClass, ...]:
    merged = {label.value: label for each in found for label in each.classes}
    merged.setdefault(0, suggest_class(0, "background"))
    if len(merged) == 1:
        merged[1] = suggest_class(1, "label 1")
    return tuple(merged[value] for value in sorted(merged))
