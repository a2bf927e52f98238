"""DICOM series -> volumes: sorted by position in space, with what is missing or odd said in remarks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import ImageTooLarge, MissingExtra, NotAnImage, UnsupportedDtype, WrongDimensions
from app.formats.dicom_headers import (
    DicomFile,
    Picture,
    PictureGroup,
    damage_errors,
    first_line,
    normal_of,
    read_dataset,
    read_header,
)
from app.formats.image import MAX_IMAGE_BYTES
from app.formats.voxels import FileVoxels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAME_PLACE_MM = 0.01
_UNEVEN = 0.1  # of a step; below it positions are rounded, above it slices are unevenly spaced
_TILT_DEGREES = 0.5
_LISTED = 12


@dataclass(frozen=True)
class DicomVolume:
    """The pictures of one volume in order of place; `part` names it among the volumes of one folder."""

    part: str
    group: PictureGroup
    pictures: tuple[Picture, ...]
    thickness: float | None
    modality: str
    patient: str
    frame_of_reference: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class RefusedFile:
    """A file that is part of no volume, and why, in one sentence."""

    path: Path
    reason: str


def find_dicom_volumes(folder: Path) -> tuple[tuple[DicomVolume, ...], tuple[RefusedFile, ...]]:
    """The volumes in a folder and all below it, by headers alone, and the files that belong to none.

    Pictures are told apart by series, size, orientation, spacing, b-value, echo and time; what still lies at one and
    the same place becomes one volume after the other, in order of acquisition. Copies of one instance count once.
    Raises `MissingExtra` where pydicom is not installed.
    """
    if find_spec("pydicom") is None:
        raise MissingExtra("DICOM", "dicom")
    files: list[DicomFile] = []
    refused: list[RefusedFile] = []
    seen: set[str] = set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            found = read_header(path)
        except NotAnImage as error:
            refused.append(RefusedFile(path, str(error)))
            continue
        if found[0].pictures[0].instance in seen:
            refused.append(
                RefusedFile(path, f"{path.name} has the identifier of a picture that was taken already: a copy.")
            )
            continue
        seen.add(found[0].pictures[0].instance)
        files += found
    volumes = [volume for members in _grouped(files) for volume in _volumes(members)]
    return tuple(_named_apart(volumes)), tuple(refused)


def load_dicom_volume(volume: DicomVolume, *, max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The stored (column, row, slice) voxels of a volume, where they lie, and its remarks.

    Where every picture has the same slope and intercept these stand beside the stored values; where they differ (PET)
    they are applied, which gives float32. Raises `ImageTooLarge`, `NotAnImage` for a picture that cannot be decoded,
    `WrongDimensions` and `UnsupportedDtype`.
    """
    import numpy as np

    group, pictures = volume.group, volume.pictures
    name = pictures[0].path.name if len({picture.path for picture in pictures}) == 1 else pictures[0].path.parent.name
    size = len(pictures) * group.rows * group.columns * group.samples * max(group.bits // 8, 1)
    if size > max_bytes:
        raise ImageTooLarge(name, size, max_bytes)
    if group.samples not in (1, 3) or (group.samples == 3 and group.bits != 8):
        raise WrongDimensions(name, (group.rows, group.columns, group.samples), "grey or 8-bit colours are needed")
    if group.bits not in (8, 16, 32, 64):
        raise UnsupportedDtype(name, f"of {group.bits} bits")
    scalings = {(picture.slope, picture.intercept) for picture in pictures}
    stack = _decode(pictures, group, scaled=len(scalings) > 1)
    slope, intercept = scalings.pop() if len(scalings) == 1 else (1.0, 0.0)
    affine, spacing, remarks = _position(volume)
    voxels = np.moveaxis(stack, (0, 1, 2), (2, 1, 0))
    return FileVoxels(name, voxels, affine, spacing, slope, intercept, (*volume.remarks, *remarks), axis=2)


def _grouped(files: Sequence[DicomFile]) -> Iterable[list[DicomFile]]:
    groups: dict[PictureGroup, list[DicomFile]] = {}
    for file in files:
        groups.setdefault(file.group, []).append(file)
    return groups.values()


def _named_apart(volumes: Iterable[DicomVolume]) -> Iterator[DicomVolume]:
    # Views of a scout that differ by a few degrees have the same words in their names.
    met: dict[str, int] = {}
    for volume in volumes:
        met[volume.part] = met.get(volume.part, 0) + 1
        yield volume if met[volume.part] == 1 else replace(volume, part=f"{volume.part} ({met[volume.part]})")


def _volumes(files: Sequence[DicomFile]) -> list[DicomVolume]:
    pictures = [picture for file in files for picture in file.pictures]
    # Told apart by kind only where places collide: the echo time of a plain stack may differ from slice to slice.
    alike = len(_by_turn(pictures, files[0].group)) == 1
    kinds = [None] if alike else sorted({picture.kind for picture in pictures})
    parts: list[tuple[str, list[Picture]]] = []
    for kind in kinds:
        differing = [pair for pair in kind or () if any(pair not in (other or ()) for other in kinds)]
        label = ", ".join(f"{name} {value:g}" for name, value in differing)
        turns = _by_turn([picture for picture in pictures if kind in (None, picture.kind)], files[0].group)
        for turn, members in enumerate(turns, start=1):
            parts.append((", ".join(filter(None, [label, f"turn {turn}" if len(turns) > 1 else ""])), members))
    first = files[0]
    remarks = tuple(dict.fromkeys(remark for file in files for remark in file.remarks))
    stem = "/".join([first.group.series, f"{first.group.rows}x{first.group.columns}", _view(first.group)])
    return [
        DicomVolume(
            part=f"{stem}/{label}" if label else stem,
            group=first.group,
            pictures=tuple(members),
            thickness=first.thickness,
            modality=first.modality,
            patient=first.patient,
            frame_of_reference=first.frame_of_reference,
            remarks=remarks,
        )
        for label, members in parts
    ]


def _view(group: PictureGroup) -> str:
    if group.orientation is None:
        return "unplaced"
    normal = normal_of(group.orientation)
    return ("sagittal", "coronal", "axial")[max(range(3), key=lambda axis: abs(normal[axis]))]


def _height(picture: Picture, group: PictureGroup) -> float | None:
    if picture.place is None or group.orientation is None:
        return None
    return sum(n * p for n, p in zip(normal_of(group.orientation), picture.place, strict=True))


def _by_turn(pictures: Sequence[Picture], group: PictureGroup) -> list[list[Picture]]:
    """The pictures in order of place; the n-th ones at each place, in order of acquisition, are the n-th turn."""
    heights = [_height(picture, group) for picture in pictures]
    if any(height is None for height in heights):
        return [sorted(pictures, key=lambda picture: (picture.number, picture.path))]
    placed = sorted(
        zip((height for height in heights if height is not None), pictures, strict=True),
        key=lambda pair: (round(pair[0] / _SAME_PLACE_MM), pair[1].number, pair[1].path),
    )
    turns: list[list[Picture]] = []
    last, turn = -math.inf, 0
    for height, picture in placed:
        turn = turn + 1 if height - last < _SAME_PLACE_MM else 0
        last = height
        if turn == len(turns):
            turns.append([])
        turns[turn].append(picture)
    return turns


def _decode(pictures: Sequence[Picture], group: PictureGroup, *, scaled: bool) -> NDArray[Any]:
    import numpy as np

    stack: NDArray[Any] | None = None
    shape = (group.rows, group.columns) if group.samples == 1 else (group.rows, group.columns, 3)
    order = sorted(range(len(pictures)), key=lambda index: (pictures[index].path, pictures[index].frame))
    for path, indices in groupby(order, key=lambda index: pictures[index].path):
        members = list(indices)
        decoded = 0
        for index, frame in zip(members, decode_frames(path, [pictures[each].frame for each in members]), strict=False):
            if frame.shape != shape or (stack is not None and not scaled and frame.dtype != stack.dtype):
                raise NotAnImage(path.name, f"its pixels decode to {frame.dtype.name} {frame.shape}, unlike the others")
            if stack is None:
                stack = np.empty((len(pictures), *shape), np.float32 if scaled else frame.dtype)
            picture = pictures[index]
            stack[index] = frame * picture.slope + picture.intercept if scaled else frame
            decoded += 1
        if decoded != len(members):
            raise NotAnImage(path.name, f"it holds {decoded} of the {len(members)} frames that its header announces")
    assert stack is not None
    return stack


def decode_frames(path: Path, frames: list[int]) -> Iterator[NDArray[Any]]:
    """The pixels of some frames of a file, one after the other; raises `NotAnImage` where one cannot be decoded."""
    from pydicom.misc import is_dicom
    from pydicom.pixels import iter_pixels

    # From the path one frame is held at a time, but that needs a file with its full header.
    many = len(frames) > 1 and is_dicom(path)
    source = path if many else read_dataset(path, pixels=True)
    found = iter_pixels(source, indices=frames)
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                frame = next(found, None)
        except damage_errors() as error:
            raise NotAnImage(path.name, f"its pixels cannot be decoded ({first_line(error)})") from None
        if frame is None:
            return
        yield frame


def _position(
    volume: DicomVolume,
) -> tuple[NDArray[np.float64], tuple[float, float, float] | None, tuple[str, ...]]:
    """Affine (right-anterior-superior, mm), spacing along (column, row, slice), and what is odd about the places."""
    import numpy as np

    group, affine = volume.group, np.eye(4)
    if group.row_spacing is None or group.column_spacing is None:
        return affine, None, ("the file says neither where it lies nor how large its pixels are",)
    if min(group.row_spacing, group.column_spacing) <= 0:
        raise NotAnImage(volume.pictures[0].path.name, "its pixel spacing is not positive")
    heights = [_height(picture, group) for picture in volume.pictures]
    step = volume.thickness or 1.0
    if group.orientation is None or None in heights:
        affine[[0, 1, 2], [0, 1, 2]] = [group.column_spacing, group.row_spacing, step]
        return affine, (group.column_spacing, group.row_spacing, step), ("the file does not say where it lies",)
    normal = np.array(normal_of(group.orientation))
    if abs(np.linalg.norm(normal) - 1) > 0.01:
        raise NotAnImage(volume.pictures[0].path.name, "its rows and columns are not at right angles")
    places = np.array([picture.place for picture in volume.pictures], dtype=np.float64)
    along = normal * step
    remarks: tuple[str, ...] = ()
    if len(places) > 1:
        z = np.array(heights, dtype=np.float64)
        step = float(np.median(np.diff(z)))
        along = (places[-1] - places[0]) / (z[-1] - z[0]) * step
        remarks = (*_gaps(z, step), *_tilt(along, normal))
    affine[:3, 0] = np.array(group.orientation[:3]) * group.column_spacing
    affine[:3, 1] = np.array(group.orientation[3:]) * group.row_spacing
    affine[:3, 2], affine[:3, 3] = along, places[0]
    affine[:2] *= -1  # the file counts to the left and to the back, this house to the right and to the front
    return affine, (group.column_spacing, group.row_spacing, step), remarks


def _gaps(z: NDArray[np.float64], step: float) -> list[str]:
    import numpy as np

    steps = np.diff(z) / step
    missing = [
        float(z[index] + step * number)
        for index in np.flatnonzero(steps > 1.5)
        for number in range(1, round(float(steps[index])))
    ]
    remarks = []
    if missing:
        listed = ", ".join(f"{height:.1f}" for height in missing[:_LISTED])
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        are_missing = "slice is missing" if len(missing) == 1 else "slices are missing"
        remarks.append(f"{len(missing)} {are_missing}, at {listed}{more} mm")
    if bool((np.abs(steps - np.rint(steps)) > _UNEVEN).any()):
        remarks.append(f"slices are unevenly spaced, {steps.min() * step:.2f} to {steps.max() * step:.2f} mm apart")
    return remarks


def _tilt(along: NDArray[np.float64], normal: NDArray[np.float64]) -> list[str]:
    import numpy as np

    cosine = float(along @ normal / np.linalg.norm(along))
    degrees = math.degrees(math.acos(min(1.0, abs(cosine))))
    return [f"the gantry is tilted by {degrees:.1f} degrees; the affine keeps it"] if degrees > _TILT_DEGREES else []
