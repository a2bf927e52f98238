"""A folder of images and masks, in the two layouts that people keep.

Two folders, `imagesTr` and `labelsTr` as in the Medical Segmentation Decathlon and nnU-Net (or `images` and `labels`
or `masks`), with or without a `dataset.json`; or images with their masks beside them, told apart by a word at either
end of the name: `brain1_image` and `brain1_label`, `scan` and `scan_seg`, `fixed` and `mask_fixed`. Where nothing is
left of the name without such words (`case7/image`, `case7/seg`), the folder's name stands for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.datasets.records import DatasetListing, LabelClass, Problem, VolumeSource, suggest_class
from app.datasets.splits import FRACTIONS, draw_splits, read_split_lists
from app.errors import DatasetUnreadable, NextSliceError
from app.formats.files import image_stem, read_mask_values

_NNUNET_FOLDER = "imagesTr"
_LAST_AXIS = 2  # nnU-Net, for which this layout is made, cuts isotropic volumes of NIfTI along it
_IMAGE_FOLDERS = (_NNUNET_FOLDER, "images", "image")
_LABEL_FOLDERS = ("labelsTr", "labels", "masks", "label", "mask")
_MASK_WORD = r"seg|segmentation|gt|groundtruth|mask|masks|label|labels"
_ROLES = {"full": _MASK_WORD, "scribble": r"scribble|scribbles", "image": r"image|img|im"}
PATIENT_WORD = r"(sub-[a-z0-9]+|(?:subject|patient|pat)[-_]?\d+)"
_PATIENT = re.compile(PATIENT_WORD, re.IGNORECASE)
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_SAME_NAME = "another file has the same name but for its ending, and was taken"
_NAMED = 12
_MOST_CLASSES = 64  # more distinct values than this make an image, not a mask


@dataclass
class _Case:
    image: Path | None = None
    masks: dict[str, Path] = field(default_factory=dict)


def list_folder(
    path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS, name: str = "nifti"
) -> DatasetListing:
    """The volumes of a folder: one patient an image, unless the names say `sub-XX`, `patientNN` or `subject-NN`.

    Classes come from `dataset.json`, else from the values found in the full masks; values that leave 0-254 are
    numbered anew in rising order. Lists in the folder win over the draw by `seed` and `fractions`. Masks without an
    image and masks that cannot be read are named in the problems. Raises `DatasetUnreadable` where there is no image.
    """
    cases, problems = _find_cases(path)
    usual_axis = _LAST_AXIS if (path / _NNUNET_FOLDER).is_dir() else None
    volumes = [_volume(key, case, usual_axis) for key, case in sorted(cases.items()) if case.image is not None]
    problems += [
        Problem(mask.name, "it is a mask without an image")
        for _, case in sorted(cases.items())
        if case.image is None
        for mask in case.masks.values()
    ]
    if not volumes:
        alone = ", ".join(problem.name for problem in problems[:_NAMED])
        found = f"; masks without an image: {alone}" if alone else ""
        raise DatasetUnreadable(name, str(path), f"it holds no image that can be taken in{found}")
    classes = _described_classes(path)
    if classes is None:
        classes, volumes, refused = _discover_classes(volumes)
        problems += refused
    split_of = _splits(name, path, volumes, seed, fractions)
    placed = []
    for volume in volumes:
        split = split_of.get(volume.patient) or split_of.get(volume.name)
        if split is None:
            problems.append(Problem(volume.name, "it stands in no split list"))
        else:
            placed.append(replace(volume, split=split))
    return DatasetListing(name, classes, tuple(placed), tuple(problems))


def _find_cases(path: Path) -> tuple[dict[str, _Case], list[Problem]]:
    images, labels = (_first_folder(path, names) for names in (_IMAGE_FOLDERS, _LABEL_FOLDERS))
    if images is not None and labels is not None:
        return _cases_in_two_folders(images, labels)
    return _cases_side_by_side(path)


def _first_folder(path: Path, names: Iterable[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _cases_in_two_folders(images: Path, labels: Path) -> tuple[dict[str, _Case], list[Problem]]:
    cases: dict[str, _Case] = {}
    problems = []
    label_of = {_key(labels, file, stem): file for stem, file in _image_files(labels)}
    for stem, file in _image_files(images):
        key = _key(images, file, stem)
        channel = _CHANNEL.fullmatch(key)
        if channel is not None and key not in label_of:
            if channel[2] != "0000":
                problems.append(Problem(file.name, "only the first channel (0000) of an image is taken"))
                continue
            key = channel[1]
        if key in cases:
            problems.append(Problem(file.name, _SAME_NAME))
        else:
            cases[key] = _Case(file)
    for key, file in label_of.items():
        cases.setdefault(key, _Case()).masks["full"] = file
    return cases, problems


def _cases_side_by_side(path: Path) -> tuple[dict[str, _Case], list[Problem]]:
    cases: dict[str, _Case] = {}
    problems = []
    for stem, file in _image_files(path):
        role, _ = role_and_key(stem)
        case = cases.setdefault(_key(path, file, stem), _Case())
        if (case.image is not None) if role == "image" else (role in case.masks):
            problems.append(Problem(file.name, _SAME_NAME))
        elif role == "image":
            case.image = file
        else:
            case.masks[role] = file
    _join_by_prefix(cases)
    return cases, problems


def _key(folder: Path, file: Path, stem: str) -> str:
    place, (_, key) = file.relative_to(folder).parent, role_and_key(stem)
    return (place / key if key or not place.name else place).as_posix()


def role_and_key(stem: str) -> tuple[str, str]:
    """What a name says of a file ("image", "full" or "scribble" mask), and the name without that word."""
    for role, words in _ROLES.items():
        match = re.fullmatch(rf"(?:(?:{words})[_-](?P<a>.+)|(?P<b>.+)[_-](?:{words})|(?:{words}))", stem, re.IGNORECASE)
        if match is not None:
            return role, match["a"] or match["b"] or ""
    return "image", stem


def _join_by_prefix(cases: dict[str, _Case]) -> None:
    # `scan_small` with `scan_mask`: the mask's key begins the name of exactly one image that has no mask yet.
    for key in [key for key, case in cases.items() if case.image is None]:
        longer = [
            other
            for other, case in cases.items()
            if case.image is not None and not case.masks and other.startswith(key)
        ]
        if len(longer) == 1:
            cases[longer[0]].masks.update(cases.pop(key).masks)


def _image_files(folder: Path) -> list[tuple[str, Path]]:
    found = []
    for file in sorted(folder.rglob("*")):
        stem = image_stem(file)
        if stem is not None and not file.name.startswith(".") and file.is_file():
            found.append((stem, file))
    return found


def _volume(key: str, case: _Case, usual_axis: int | None) -> VolumeSource:
    assert case.image is not None
    match = _PATIENT.search(key)
    return VolumeSource(
        patient=key if match is None else match[0],
        name=key,
        group="",
        split="",
        image=case.image,
        full_mask=case.masks.get("full"),
        scribble_mask=case.masks.get("scribble"),
        usual_axis=usual_axis,
    )


def _described_classes(path: Path) -> tuple[LabelClass, ...] | None:
    try:
        description = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
        labels: dict[str, Any] = description["labels"]
        # The Decathlon writes {"1": "liver"}, nnU-Net {"liver": 1}.
        named = (
            {int(k): str(v) for k, v in labels.items()}
            if all(map(str.isdecimal, labels))
            else {int(v): str(k) for k, v in labels.items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    named = {0: "background"} | {value: label for value, label in named.items() if 0 <= value <= 254}
    return tuple(suggest_class(value, label) for value, label in sorted(named.items()))


def _discover_classes(
    volumes: list[VolumeSource],
) -> tuple[tuple[LabelClass, ...], list[VolumeSource], list[Problem]]:
    found: set[int] = {0}
    problems, kept = [], []
    for volume in volumes:
        try:
            found |= set() if volume.full_mask is None else read_mask_values(volume.full_mask, _MOST_CLASSES)
            kept.append(volume)
        except NextSliceError as error:
            problems.append(Problem(volume.name, f"its mask is left out: {error}"))
            kept.append(replace(volume, full_mask=None))
    if found == {0}:
        found = {0, 1}  # nothing is labelled yet, and what shall be needs a class
    if found <= set(range(255)):
        return tuple(suggest_class(value, _class_name(value)) for value in sorted(found)), kept, problems
    renumbered: Mapping[int, int] = {value: number for number, value in enumerate(sorted(found))}
    classes = tuple(suggest_class(number, _class_name(value)) for value, number in renumbered.items())
    return classes, [replace(volume, mask_values=renumbered) for volume in kept], problems


def _class_name(value: int) -> str:
    return "background" if value == 0 else f"label {value}"


def _splits(
    name: str, path: Path, volumes: list[VolumeSource], seed: int, fractions: tuple[float, float, float]
) -> dict[str, str]:
    lists = read_split_lists(name, path)
    return draw_splits((volume.patient for volume in volumes), seed, fractions) if lists is None else lists
