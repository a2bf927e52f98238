"""What one DICOM file says of its pictures, before a pixel is read: which series, where, in which order."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.errors import NotAnImage

Vector = tuple[float, float, float]

_LOOKS_LIKE_DICOM = (".dcm", ".ima", ".dicom")


@dataclass(frozen=True)
class Picture:
    """One frame of one file. `place` is the centre of its first pixel in mm, left-posterior-superior.

    `kind` tells volumes of one series apart (b-value, echo, time), `number` orders pictures where places do not.
    """

    path: Path
    frame: int
    instance: str
    place: Vector | None
    kind: tuple[tuple[str, float], ...]
    number: tuple[float, ...]
    slope: float
    intercept: float


@dataclass(frozen=True)
class PictureGroup:
    """What all pictures of one volume must share; lengths in mm."""

    series: str
    rows: int
    columns: int
    samples: int
    bits: int
    orientation: tuple[float, ...] | None  # direction of a row, then of a column
    row_spacing: float | None  # between rows
    column_spacing: float | None


@dataclass(frozen=True)
class DicomFile:
    """The pictures of one file, their common ground, and what the file says about itself."""

    group: PictureGroup
    pictures: tuple[Picture, ...]
    thickness: float | None
    description: str
    patient: str
    remarks: tuple[str, ...]


def damage_errors() -> tuple[type[Exception], ...]:
    """What a damaged file makes pydicom and its decoders raise."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    plain = (OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, ArithmeticError)
    return (*plain, AssertionError, MemoryError, struct.error, zlib.error, InvalidDicomError, BytesLengthException)


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160].rstrip(".: ")


def normal_of(orientation: Sequence[float]) -> Vector:
    """The direction in which slices follow each other: rows times columns."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return b * f - c * e, c * d - a * f, a * e - b * d


def read_dataset(path: Path, *, pixels: bool) -> Any:
    """The pydicom data set of a file; raises `NotAnImage` where it is none or damaged."""
    import pydicom

    try:
        with warnings.catch_warnings():
            # Files of old scanners break the standard in small ways that pydicom mends and mentions.
            warnings.simplefilter("ignore")
            force = path.suffix.lower() in _LOOKS_LIKE_DICOM
            return pydicom.dcmread(path, stop_before_pixels=not pixels, force=force)
    except damage_errors() as error:
        raise NotAnImage(path.name, f"it is no sound DICOM file ({first_line(error)})") from None


def read_header(path: Path) -> DicomFile:
    """What a file says of its pictures; raises `NotAnImage` for one without pictures of intensities."""
    dataset = read_dataset(path, pixels=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _describe(dataset, path)
    except damage_errors() as error:
        raise NotAnImage(path.name, f"its DICOM header is damaged ({first_line(error)})") from None


def _describe(dataset: Any, path: Path) -> DicomFile:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise NotAnImage(path.name, f"it holds no picture but {_class_name(dataset)}")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric == "PALETTE COLOR":
        raise NotAnImage(path.name, "its pixels are numbers of a palette, not intensities")
    if str(dataset.get("Modality", "")) == "SEG":
        raise NotAnImage(path.name, "it is a segmentation, not an image")
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    shared = _item(dataset, "SharedFunctionalGroupsSequence")
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    pictures, grounds = [], set()
    for frame in range(frames):
        groups = [per_frame[frame] if frame < len(per_frame) else None, shared, dataset]
        pictures.append(_picture(dataset, groups, path, frame))
        grounds.add(_ground(dataset, groups))
    if frames > 1 and not per_frame:
        pictures = _spread(pictures, dataset)
    if len(grounds) > 1:
        raise NotAnImage(path.name, "its frames differ in orientation or spacing")
    return DicomFile(
        group=grounds.pop(),
        pictures=tuple(pictures),
        thickness=_thickness([per_frame[0] if per_frame else None, shared, dataset]),
        description=str(dataset.get("SeriesDescription", "")),
        patient=str(dataset.get("PatientID", "")),
        remarks=("low intensities are meant to be shown bright (MONOCHROME1)",) if photometric == "MONOCHROME1" else (),
    )


def _class_name(dataset: Any) -> str:
    uid = dataset.get("SOPClassUID") or getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID")
    return str(getattr(uid, "name", "") or "something else")[:80]


def _picture(dataset: Any, groups: list[Any], path: Path, frame: int) -> Picture:
    place = _find(groups, "PlanePositionSequence", "ImagePositionPatient")
    diffusion = _find(groups, "MRDiffusionSequence", "DiffusionBValue")
    echo = _find(groups, "MREchoSequence", "EffectiveEchoTime", "EchoTime")
    moment = _find(groups, "FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier")
    slope = _find(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _find(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    named = (("b-value", diffusion), ("echo time", echo), ("time", moment))
    # A slope of 0 would make every pixel alike; it is how some exporters say that there is none.
    return Picture(
        path=path,
        frame=frame,
        instance=str(dataset.get("SOPInstanceUID", path.name)),
        place=None if place is None else _vector(place, 3),
        kind=tuple((name, _number(value, 0.0)) for name, value in named if value is not None),
        number=(_number(dataset.get("AcquisitionNumber"), 0), _number(dataset.get("InstanceNumber"), 0), frame),
        slope=_number(slope, 1.0) or 1.0,
        intercept=_number(intercept, 0.0),
    )


def _spread(pictures: list[Picture], dataset: Any) -> list[Picture]:
    """The frames of a plain multi-frame file where its offsets put them; without offsets they have no place."""
    offsets = dataset.get("GridFrameOffsetVector")
    orientation = dataset.get("ImageOrientationPatient")
    place = pictures[0].place
    if not offsets or not orientation or place is None:
        return [replace(picture, place=None) for picture in pictures]
    up = normal_of(_vector(orientation, 6))
    heights = _vector(offsets, len(pictures))
    return [
        replace(picture, place=_vector([p + n * height for p, n in zip(place, up, strict=True)], 3))
        for picture, height in zip(pictures, heights, strict=True)
    ]


def _ground(dataset: Any, groups: list[Any]) -> PictureGroup:
    orientation = _find(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(groups, "PixelMeasuresSequence", "PixelSpacing")
    lengths = (None, None) if spacing is None else _vector(spacing, 2)
    return PictureGroup(
        series=str(dataset.get("SeriesInstanceUID", "")),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        bits=int(dataset.get("BitsAllocated") or 0),
        # Rounded, because scanners write the same direction with different last digits.
        orientation=None if orientation is None else tuple(round(part, 4) for part in _vector(orientation, 6)),
        row_spacing=lengths[0],
        column_spacing=lengths[1],
    )


def _thickness(groups: list[Any]) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        thickness = abs(_number(_find(groups, "PixelMeasuresSequence", keyword), 0.0))
        if thickness > 0:
            return thickness
    return None


def _find(groups: list[Any], sequence: str, *keywords: str) -> Any:
    """The first value found: in the frame's own functional group, the shared one, the data set itself."""
    for group in groups:
        for place in (_item(group, sequence), group):
            for keyword in keywords:
                value = None if place is None else place.get(keyword)
                if value is not None and value not in ("", []):
                    return value
    return None


def _item(dataset: Any, sequence: str) -> Any:
    items = None if dataset is None else dataset.get(sequence)
    return items[0] if items else None


def _vector(values: Any, count: int) -> Any:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{len(numbers)} numbers where {count} finite ones belong")
    return numbers


def _number(value: Any, default: float) -> float:
    number = default if value is None or value == "" else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} where a number belongs")
    return number
