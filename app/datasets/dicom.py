"""A folder of DICOM files of any layout: every volume found in it, with the segmentations that label it.

People in the files get pseudonyms and series get codes, both made with a key, so that the same folder taken in twice is
the same volumes, and nobody can be found by trying names.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from app.datasets.records import DatasetListing, LabelClass, Problem, SegmentationSource, VolumeSource, suggest_class
from app.datasets.splits import FRACTIONS, draw_splits
from app.errors import DatasetUnreadable, NotAnImage
from app.formats.deidentify import pseudonym, series_code
from app.formats.dicom import DicomVolume, RefusedFile, find_dicom_volumes
from app.formats.dicom_seg import Segmentation, belonging_volume, is_segmentation, read_segmentation

_UNLABELLED_SERIES = (suggest_class(0, "background"), suggest_class(1, "label 1"))


def list_dicom(
    path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS, key: bytes = b""
) -> DatasetListing:
    """The volumes of a folder, split by patient as drawn, with the files that are part of none in the problems.

    `key` makes the pseudonyms; without one they are other ones at each call. Classes are the segments found, by their
    labels. Raises `DatasetUnreadable` where there is no DICOM image.
    """
    listing = list_any_dicom(path, seed=seed, fractions=fractions, key=key)
    if not listing.volumes:
        raise DatasetUnreadable("dicom", str(path), "it holds no DICOM image")
    return listing


def list_any_dicom(
    path: Path, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS, key: bytes = b""
) -> DatasetListing:
    """As `list_dicom`, but where there is no image the listing holds only what stands in the way of each file."""
    key = key or secrets.token_bytes(32)
    volumes, refused = find_dicom_volumes(path)
    segmentations, problems = _find_segmentations(path, refused)
    classes, numbering = _number_segments(segmentations)
    labels: dict[int, list[SegmentationSource]] = {}
    for segmentation in segmentations:
        found = belonging_volume(segmentation, volumes)
        if found is None:
            problems.append(
                Problem(_name(segmentation.path, path), "it labels no series of this folder, or no one alone")
            )
            continue
        values = {number: numbering[number, name] for number, name in segmentation.names.items()}
        labels.setdefault(volumes.index(found), []).append(SegmentationSource(segmentation, values))
    # Files without a patient's number belong together where they lie in one folder.
    owners = [volume.patient or str(volume.pictures[0].path.parent) for volume in volumes]
    split_of = draw_splits(owners, seed, fractions)
    sources = [
        VolumeSource(
            patient=pseudonym(owner, key),
            name=_volume_name(volume, volumes, key),
            group="",  # what the scanner calls a series is free text, in which people's names are met
            split=split_of[owner],
            image=path,
            part=volume.part,
            dicom=volume,
            segmentations=tuple(labels.get(number, ())),
        )
        for number, (owner, volume) in enumerate(zip(owners, volumes, strict=True))
    ]
    ordered = sorted(sources, key=lambda source: (source.patient, source.name))
    return DatasetListing("dicom", classes, tuple(ordered), tuple(problems))


def _find_segmentations(path: Path, refused: Iterable[RefusedFile]) -> tuple[list[Segmentation], list[Problem]]:
    segmentations, problems = [], []
    for file in refused:
        try:
            if is_segmentation(file.path):
                segmentations.append(read_segmentation(file.path))
                continue
            reason = file.reason
        except NotAnImage as error:
            reason = str(error)
        problems.append(Problem(_name(file.path, path), reason))
    return segmentations, problems


def _number_segments(
    segmentations: Sequence[Segmentation],
) -> tuple[tuple[LabelClass, ...], Mapping[tuple[int, str], int]]:
    """Classes, and (segment number, label) -> class: the numbers as they are where they mean the same in every file."""
    named = dict.fromkeys((number, name) for each in segmentations for number, name in sorted(each.names.items()))
    if not named:
        return _UNLABELLED_SERIES, {}
    numbers = [number for number, _ in named]
    labels = list(dict.fromkeys(name for _, name in named))
    if 0 not in numbers and len(set(numbers)) == len(named):
        numbering = {pair: pair[0] for pair in named}
    else:
        numbering = {pair: 1 + labels.index(pair[1]) for pair in named}
    names = {value: name for (_, name), value in numbering.items()}
    classes = [suggest_class(0, "background")]
    classes += [suggest_class(value, name or f"label {value}") for value, name in sorted(names.items())]
    return tuple(classes), numbering


def _volume_name(volume: DicomVolume, volumes: Sequence[DicomVolume], key: bytes) -> str:
    first, _, tail = volume.part.partition("/")
    siblings = [other for other in volumes if other.group.series == volume.group.series]
    detail = "" if len(siblings) == 1 else " " + " ".join(tail.replace("/", " ").split())
    return f"{volume.modality or 'series'} {series_code(first, '', key)}{detail}"[:200]


def _name(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder))
