"""Folders of pictures as volumes: one folder a volume, one picture a slice or video frame, masks in folders beside.

The mask of `case1/images` lies in `case1/masks`, that of `case1` in `case1_mask`, `masks/case1` belongs to
`images/case1`; or pictures and masks lie in one folder and `x_mask.png` belongs to `x.png`, as for 3-D files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from app.datasets.folder import PATIENT_WORD, role_and_key
from app.datasets.records import Problem, VolumeSource
from app.errors import NotAnImage
from app.formats.frames import PICTURE_SUFFIXES, count_pages, list_frames

_IMAGE_FOLDER = r"images?|imgs?|frames?|pictures?|jpegimages|imagestr"
_MASK_FOLDER = r"masks?|labels?|segs?|segmentations?|gt|groundtruth|ground|annotations?|labelstr"


def list_pictures(path: Path) -> tuple[list[VolumeSource], list[Problem]]:
    """The volumes in all folders of pictures below `path`, without a split yet, and the masks that belong to none."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    problems = []
    for folder in _picture_folders(path):
        role, key = _folder_role(folder.relative_to(path))
        found = masks if role == "full" else images
        if key in found:
            problems.append(Problem(str(folder.relative_to(path)), "another folder has the same role, and was taken"))
        else:
            found[key] = folder
    paged, images = _paged_files(path, images)
    volumes = [
        VolumeSource(
            patient=_patient(key, path),
            name=key if key != "." else path.name or "pictures",
            group="",
            split="",
            image=folder,
            full_mask=masks.pop(key, None),
        )
        for key, folder in sorted(images.items())
    ]
    volumes += paged
    problems += [Problem(str(folder.relative_to(path)), "they are masks without images") for folder in masks.values()]
    return volumes, problems


def _paged_files(path: Path, images: dict[str, Path]) -> tuple[list[VolumeSource], dict[str, Path]]:
    """TIFFs of several pages are a volume each, with a mask of the same kind beside; the other folders stay stacks."""
    volumes, stacks = [], {}
    for key, folder in images.items():
        frames = list_frames(folder)
        if not all(file.suffix.lower() in (".tif", ".tiff") and _pages(file) > 1 for file in frames):
            stacks[key] = folder
            continue
        roles = {file: role_and_key(file.stem) for file in frames}
        masks = {name: file for file, (role, name) in roles.items() if role == "full"}
        for file, (role, name) in roles.items():
            if role == "image":
                code = name if key == "." else f"{key}/{name}"
                volumes.append(VolumeSource(_patient(code, path), code, "", "", file, masks.get(name)))
    return volumes, stacks


def _pages(file: Path) -> int:
    try:
        return count_pages(file)
    except NotAnImage:
        return 1


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def _picture_folders(path: Path) -> Iterable[Path]:
    folders = {file.parent for file in path.rglob("*") if is_picture(file) and not is_hidden(file.relative_to(path))}
    return [folder for folder in sorted(folders) if list_frames(folder)]


def is_hidden(relative: Path) -> bool:
    """Whether a file is one that a desktop left behind: `._scan.nii.gz`, `.DS_Store`, anything in `__MACOSX`."""
    named = relative.name.lower() in ("thumbs.db", "desktop.ini")
    return named or any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def _folder_role(relative: Path) -> tuple[str, str]:
    parts = list(relative.parts)
    for index in range(len(parts) - 1, -1, -1):
        for role, words in (("image", _IMAGE_FOLDER), ("full", _MASK_FOLDER)):
            if re.fullmatch(words, parts[index], re.IGNORECASE):
                return role, Path(*parts[:index], *parts[index + 1 :]).as_posix()
    role, key = role_and_key(parts[-1]) if parts else ("image", "")
    return role, Path(*parts[:-1], key).as_posix() if key else Path(*parts).as_posix()


def _patient(key: str, path: Path) -> str:
    match = re.search(PATIENT_WORD, key, re.IGNORECASE)
    return match[0] if match is not None else key if key != "." else path.name or "pictures"
