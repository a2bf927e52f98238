"""What one DICOM file says of its pictures, before a pixel is read: which series, where, in which order."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.errors import IsSegmentation, NotAnImage

Vector = tuple[float, float, float]

_MOST_FRAMES = 100_000
_LOOKS_LIKE_DICOM = (".dcm", ".ima", ".dicom")
_OFTEN_BURNED = frozenset({"US", "ES", "OT", "SC", "XC", "GM", "DOC"})


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
    modality: str
    patient: str
    frame_of_reference: str
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


def read_header(path: Path) -> tuple[DicomFile, ...]:
    """What a file says of its pictures, once for each orientation or spacing in it.

    Raises `NotAnImage` for one without pictures of intensities, `IsSegmentation` for one that labels another series.
    """
    dataset = read_dataset(path, pixels=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _describe(dataset, path)
    except damage_errors() as error:
        raise NotAnImage(path.name, f"its DICOM header is damaged ({first_line(error)})") from None


def frame_groups(dataset: Any) -> Iterator[list[Any]]:
    """Of each frame the places where something may be said of it, the nearest first."""
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    if frames > _MOST_FRAMES:
        raise ValueError(f"it announces {frames} frames")
    shared = _item(dataset, "SharedFunctionalGroupsSequence")
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for frame in range(frames):
        yield [per_frame[frame] if frame < len(per_frame) else None, shared, dataset]


def read_ground(
    groups: list[Any],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, tuple[float, float] | None]:
    """Place, orientation and spacing (of rows, of columns) of a frame in mm, None where the file is silent."""
    place = _find(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _find(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(groups, "PixelMeasuresSequence", "PixelSpacing")
    return (
        None if place is None else _vector(place, 3),
        None if orientation is None else _vector(orientation, 6),
        None if spacing is None else _vector(spacing, 2),
    )


def reference_of(groups: list[Any]) -> tuple[str, int | None]:
    """The instance that a frame was derived from, and which of its frames, counted from 0; "" where it does not say."""
    for group in groups:
        derivation = _item(group, "DerivationImageSequence")
        source = _item(derivation, "SourceImageSequence")
        if source is not None:
            number = source.get("ReferencedFrameNumber")
            number = number[0] if isinstance(number, (list, tuple)) or hasattr(number, "__iter__") else number
            return str(source.get("ReferencedSOPInstanceUID", "")), None if number is None else int(number) - 1
    return "", None


def _describe(dataset: Any, path: Path) -> tuple[DicomFile, ...]:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise NotAnImage(path.name, f"it holds no picture but {_class_name(dataset)}")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric == "PALETTE COLOR":
        raise NotAnImage(path.name, "its pixels are numbers of a palette, not intensities")
    if str(dataset.get("Modality", "")) == "SEG":
        raise IsSegmentation(path.name)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    pictures, grounds, all_groups = [], [], list(frame_groups(dataset))
    for frame, groups in enumerate(all_groups):
        pictures.append(_picture(dataset, groups, path, frame))
        grounds.append(_ground(dataset, groups))
    if len(pictures) > 1 and not per_frame:
        pictures = _spread(pictures, dataset)
    return tuple(
        DicomFile(
            group=ground,
            pictures=tuple(picture for picture, its in zip(pictures, grounds, strict=True) if its == ground),
            thickness=_thickness(all_groups[grounds.index(ground)]),
            modality=str(dataset.get("Modality", "")),
            patient=str(dataset.get("PatientID", "") or dataset.get("PatientName", "")),
            frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
            remarks=tuple(_remarks(dataset, photometric)),
        )
        for ground in dict.fromkeys(grounds)
    )


def _remarks(dataset: Any, photometric: str) -> Iterator[str]:
    if photometric == "MONOCHROME1":
        yield "low intensities are meant to be shown bright (MONOCHROME1)"
    burned = str(dataset.get("BurnedInAnnotation", "")).upper()
    if burned == "YES":
        yield "the file says that text is burned into its pixels, which de-identification leaves as they are"
    elif burned != "NO" and str(dataset.get("Modality", "")) in _OFTEN_BURNED:
        yield "pictures of this kind often have text burned into the pixels, and the file does not say that it has none"
    if str(dataset.get("RecognizableVisualFeatures", "")).upper() == "YES":
        yield "the file says that a face can be recognised in it"


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
