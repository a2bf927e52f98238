"""DICOM segmentations -> masks of the series that they label.

Each frame labels one plane for one segment. Where it lies is found by geometry, pixel by pixel, so that a segmentation
whose frames run the other way, or that leaves out empty planes, lands where it was drawn; frames without a place are
laid on the picture that they name.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import AffineMismatch, MaskRefused, NotAnImage, SegmentsOverlap, ShapeMismatch, UnknownMaskValues
from app.formats.dicom import DicomVolume, decode_frames
from app.formats.dicom_headers import damage_errors, first_line, frame_groups, read_dataset, read_ground, reference_of
from app.formats.image import Geometry, to_stack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOLERANCE_VOXELS = 0.1
_MOST_SEGMENTS = 254


@dataclass(frozen=True)
class SegmentFrame:
    """One frame: its segment (0: the pixels say which), what it lies on, and where; mm, left-posterior-superior."""

    segment: int
    instance: str
    instance_frame: int | None
    place: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None  # between rows, between columns


@dataclass(frozen=True)
class Segmentation:
    """What a segmentation file says before a pixel is read; `names` is segment number -> label."""

    path: Path
    names: Mapping[int, str]
    series: frozenset[str]
    frame_of_reference: str
    shape: tuple[int, int]
    largest: int  # of a fractional one: the value that means "surely"; 1 of a binary one
    frames: tuple[SegmentFrame, ...]


def read_segmentation(path: Path) -> Segmentation:
    """The header of a segmentation file; raises `NotAnImage` where it is none or damaged."""
    dataset = read_dataset(path, pixels=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _describe(dataset, path)
    except damage_errors() as error:
        raise NotAnImage(path.name, f"its DICOM header is damaged ({first_line(error)})") from None


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation; False for anything that cannot be read as DICOM."""
    from pydicom.misc import is_dicom

    try:
        return path.is_file() and is_dicom(path) and str(read_dataset(path, pixels=False).get("Modality", "")) == "SEG"
    except NotAnImage:
        return False
    except damage_errors():  # the file begins well, and its modality cannot be read
        return False


def belonging_volume(segmentation: Segmentation, volumes: Sequence[DicomVolume]) -> DicomVolume | None:
    """The volume that a segmentation was drawn on: the one with most of the pictures named, else the only one of the
    named series or, at last, of the same frame of reference; None where that is nobody or not one alone."""
    named = {frame.instance for frame in segmentation.frames} - {""}
    counts = [sum(picture.instance in named for picture in volume.pictures) for volume in volumes]
    if named and counts and max(counts) > 0:
        best = [volume for volume, count in zip(volumes, counts, strict=True) if count == max(counts)]
        # Several b-values lie in one multi-frame file and are one instance: then nothing tells which was meant.
        return best[0] if len(best) == 1 else None
    for alike in (
        [volume for volume in volumes if volume.group.series in segmentation.series],
        [volume for volume in volumes if volume.frame_of_reference == segmentation.frame_of_reference != ""],
    ):
        if len(alike) == 1:
            return alike[0]
    return None


def load_segmentation(
    segmentation: Segmentation,
    volume: DicomVolume | None,
    geometry: Geometry,
    value_map: Mapping[int, int] | None = None,
    *,
    outside: int = 0,
) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask in a segmentation, `outside` where no segment is.

    `volume` is what the image was read from, for frames that only name their picture. `value_map` takes segment numbers
    to classes. Fractional segments count from one half on. Raises `AffineMismatch`, `ShapeMismatch`, `SegmentsOverlap`,
    `UnknownMaskValues` and `NotAnImage`.
    """
    import numpy as np

    mask = np.full(geometry.shape, outside, dtype=np.uint8, order="F")
    to_voxel = np.linalg.inv(np.asarray(geometry.affine))
    numbers = list(range(len(segmentation.frames)))
    decoded = 0
    for frame, pixels in zip(segmentation.frames, decode_frames(segmentation.path, numbers), strict=False):
        decoded += 1
        if pixels.shape != segmentation.shape:
            raise NotAnImage(segmentation.path.name, f"its pixels decode to the shape {pixels.shape}")
        here = pixels >= segmentation.largest / 2 if frame.segment else pixels > 0
        rows, columns = np.nonzero(here)
        if not len(rows):
            continue
        voxels = _voxels_of(frame, volume, geometry, to_voxel, columns, rows)
        segments = np.full(len(rows), frame.segment) if frame.segment else pixels[here]
        _lay(mask, voxels, segments, value_map, segmentation.names, outside)
    if decoded != len(numbers):
        raise NotAnImage(segmentation.path.name, f"it holds {decoded} of the {len(numbers)} frames that it announces")
    return np.ascontiguousarray(to_stack(mask, geometry.axis))


def _describe(dataset: Any, path: Path) -> Segmentation:
    if str(dataset.get("Modality", "")) != "SEG":
        raise NotAnImage(path.name, "it is no segmentation")
    items = dataset.get("SegmentSequence") or []
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in items}
    names.pop(0, None)  # of a label map: the background
    if not 0 < max(names, default=0) <= _MOST_SEGMENTS or min(names) < 0:
        raise NotAnImage(path.name, f"it has {len(names)} segments; 1 to {_MOST_SEGMENTS} can be taken")
    kind = str(dataset.get("SegmentationType", "BINARY"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise NotAnImage(path.name, f"it is a segmentation of the kind {kind[:20]!r}")
    frames = []
    for groups in frame_groups(dataset):
        instance, instance_frame = reference_of(groups)
        place, orientation, spacing = read_ground(groups)
        named = None if kind == "LABELMAP" else _segment_number(groups)
        if named is not None and named not in names:
            raise NotAnImage(path.name, f"a frame is of segment {named}, which it does not describe")
        frames.append(SegmentFrame(named or 0, instance, instance_frame, place, orientation, spacing))
    return Segmentation(
        path=path,
        names=names,
        series=frozenset(str(item.SeriesInstanceUID) for item in dataset.get("ReferencedSeriesSequence") or []),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        largest=int(dataset.get("MaximumFractionalValue") or 255) if kind == "FRACTIONAL" else 1,
        frames=tuple(frames),
    )


def _segment_number(groups: list[Any]) -> int:
    for group in groups:
        items = None if group is None else group.get("SegmentIdentificationSequence")
        if items:
            return int(items[0].ReferencedSegmentNumber)
    raise ValueError("a frame does not say of which segment it is")


def _voxels_of(
    frame: SegmentFrame,
    volume: DicomVolume | None,
    geometry: Geometry,
    to_voxel: NDArray[np.float64],
    columns: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> NDArray[np.int64]:
    """The voxels (3, N) of the image that pixels of a frame lie on."""
    import numpy as np

    if frame.place is None or frame.orientation is None or frame.spacing is None or geometry.spacing_mm is None:
        return _named_plane(frame, volume, geometry, columns, rows)
    along_row = np.array(frame.orientation[:3]) * frame.spacing[1]
    down = np.array(frame.orientation[3:]) * frame.spacing[0]
    points = np.array(frame.place)[:, None] + along_row[:, None] * columns + down[:, None] * rows
    points[:2] *= -1  # the file counts to the left and to the back, this house to the right and to the front
    exact = to_voxel[:3, :3] @ points + to_voxel[:3, 3:]
    nearest = np.rint(exact).astype(np.int64)
    size = np.array(geometry.shape)[:, None]
    if bool((nearest < 0).any() or (nearest >= size).any() or (np.abs(exact - nearest) > _TOLERANCE_VOXELS).any()):
        inside = np.clip(nearest, 0, size - 1)
        scale = np.asarray(geometry.affine)[:3, :3]
        distances = np.linalg.norm(scale @ (exact - inside), axis=0)
        raise AffineMismatch(float(distances.max()), _TOLERANCE_VOXELS * float(np.linalg.norm(scale, axis=0).min()))
    return nearest


def _named_plane(
    frame: SegmentFrame,
    volume: DicomVolume | None,
    geometry: Geometry,
    columns: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> NDArray[np.int64]:
    import numpy as np

    group = None if volume is None else volume.group
    planes = [
        index
        for index, picture in enumerate(() if volume is None else volume.pictures)
        if picture.instance == frame.instance and frame.instance_frame in (None, picture.frame)
    ]
    if group is None or len(planes) != 1:
        raise MaskRefused("The segmentation says of a frame neither where it lies nor on which picture of the series.")
    if columns.max() >= group.columns or rows.max() >= group.rows:
        raise ShapeMismatch(geometry.shape, (int(columns.max()) + 1, int(rows.max()) + 1, 1))
    return np.stack([columns, rows, np.full_like(rows, planes[0])]).astype(np.int64)


def _lay(
    mask: NDArray[np.uint8],
    voxels: NDArray[np.int64],
    segments: NDArray[Any],
    value_map: Mapping[int, int] | None,
    names: Mapping[int, str],
    outside: int,
) -> None:
    import numpy as np

    i, j, k = voxels
    for segment in np.unique(segments).tolist():
        if segment not in names:
            raise UnknownMaskValues([segment], names)
        if value_map is not None and segment not in value_map:
            raise UnknownMaskValues([segment], value_map)
        value = segment if value_map is None else value_map[segment]
        of_it = segments == segment
        at = i[of_it], j[of_it], k[of_it]
        there = mask[at]
        taken = (there != outside) & (there != value)
        if taken.any():
            first = int(np.argmax(taken))
            raise SegmentsOverlap(tuple(int(axis[first]) for axis in at), int(there[first]), value)
        mask[at] = value
