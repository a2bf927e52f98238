"""What every importer gives: the volumes of a data set, each with its patient, its split and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import SegmentsOverlap
from app.formats.dicom import DicomVolume, load_dicom_volume
from app.formats.dicom_seg import Segmentation, load_segmentation
from app.formats.files import choose_dicom_volume, read_image, read_mask
from app.formats.frames import list_frames
from app.formats.voxels import to_image
from app.storage.masks import UNLABELLED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.formats.image import Geometry, Image3D

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

_COLOURS = (
    "#000000",
    "#77aadd",
    "#bbcc33",
    "#ee8866",
    "#ffaabb",
    "#44bb99",
    "#eedd88",
    "#99ddff",
    "#aaaa00",
    "#cc99ff",
)


@dataclass(frozen=True)
class LabelClass:
    """One class of a label schema; the colour is #rrggbb."""

    value: int
    name: str
    colour: str


@dataclass(frozen=True)
class SegmentationSource:
    """A DICOM segmentation of a volume; `values` takes its segment numbers to the values of the schema."""

    header: Segmentation
    values: Mapping[int, int]


@dataclass(frozen=True)
class VolumeSource:
    """One volume as it lies on disk. Paths are files, or folders where a format keeps one slice a file.

    `unlabelled_value` is how the scribble file says "unlabelled"; `mask_values` takes the values of the full mask to
    the values of the schema, None where they are the same. `part` names the volume in a folder that holds several,
    `full_part` and `scribble_part` the masks in files that hold several arrays. `dicom` is what was found in a DICOM
    folder, so that it need not be searched again, and `segmentations` are its dense mask in files of the same kind.
    With a `simulated_seed` its scribbles are drawn from the dense mask. `usual_axis` is the one that slices are cut
    along where the grid does not tell, as the layout of the data set has it.
    """

    patient: str
    name: str
    group: str
    split: str
    image: Path
    full_mask: Path | None = None
    scribble_mask: Path | None = None
    unlabelled_value: int | None = None
    mask_values: Mapping[int, int] | None = None
    part: str = ""
    full_part: str = ""
    scribble_part: str = ""
    dicom: DicomVolume | None = None
    segmentations: tuple[SegmentationSource, ...] = ()
    simulated_seed: int | None = None
    usual_axis: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """A file or patient that was left out, and why, in one sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class DatasetListing:
    """A data set: suggested classes (background first), volumes ordered by patient, and what was left out.

    `remarks` are sentences about the whole of it that a person should know.
    """

    name: str
    classes: tuple[LabelClass, ...]
    volumes: tuple[VolumeSource, ...]
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()

    def patients(self, split: str) -> tuple[str, ...]:
        """The patients of a split, in order."""
        return tuple(dict.fromkeys(volume.patient for volume in self.volumes if volume.split == split))

    def counts(self) -> dict[str, dict[str, int]]:
        """Patients and volumes of each split."""
        return {
            split: {
                "patients": len(self.patients(split)),
                "volumes": sum(volume.split == split for volume in self.volumes),
            }
            for split in SPLITS
        }


def suggest_class(value: int, name: str) -> LabelClass:
    """A class with a colour that stands apart from its neighbours' on grey images, for colour-blind eyes too."""
    colour = _COLOURS[0] if value == 0 else _COLOURS[1 + (value - 1) % (len(_COLOURS) - 1)]
    return LabelClass(value, name, colour)


def find_dicom(volume: VolumeSource) -> DicomVolume | None:
    """The DICOM series that a volume is read from, or None where it is of another format; raises `NotAnImage`."""
    if volume.dicom is not None or not volume.image.is_dir() or list_frames(volume.image):
        return volume.dicom
    return choose_dicom_volume(volume.image, volume.part)


def read_volume_image(volume: VolumeSource, axis: int | None = None) -> Image3D:
    """The image of a volume; raises the image errors of its format, and `AxisUnclear`."""
    if volume.dicom is not None:
        return to_image(load_dicom_volume(volume.dicom), axis)
    return read_image(volume.image, axis=axis, usual_axis=volume.usual_axis, part=volume.part)


def has_full_mask(volume: VolumeSource) -> bool:
    """Whether a volume comes with a dense mask."""
    return volume.full_mask is not None or bool(volume.segmentations)


def read_full_mask(volume: VolumeSource, geometry: Geometry) -> NDArray[np.uint8] | None:
    """The dense (Z, H, W) mask in the schema's values, or None where the volume has none; raises the mask errors."""
    if volume.segmentations:
        return _merged_segmentations(volume, geometry)
    if volume.full_mask is None:
        return None
    dicom = find_dicom(volume) if volume.full_mask.is_dir() else None
    return read_mask(volume.full_mask, geometry, value_map=volume.mask_values, part=volume.full_part, dicom=dicom)


def _merged_segmentations(volume: VolumeSource, geometry: Geometry) -> NDArray[np.uint8]:
    import numpy as np

    merged: NDArray[np.uint8] | None = None
    for source in volume.segmentations:
        mask = load_segmentation(source.header, volume.dicom, geometry, source.values)
        if merged is None:
            merged = mask
            continue
        both = (merged != 0) & (mask != 0) & (merged != mask)
        if both.any():
            z, y, x = (int(index) for index in np.argwhere(both)[0])
            raise SegmentsOverlap((z, y, x), int(merged[z, y, x]), int(mask[z, y, x]))
        np.maximum(merged, mask, out=merged)
    assert merged is not None
    return merged


def read_scribble_mask(
    volume: VolumeSource, geometry: Geometry, classes: tuple[LabelClass, ...]
) -> NDArray[np.uint8] | None:
    """The scribbled (Z, H, W) mask, 255 = unlabelled, or None where there is none; a value of no class is refused."""
    if volume.scribble_mask is None:
        return None
    value_map = {label.value: label.value for label in classes} | dict(volume.mask_values or {})
    value_map[UNLABELLED] = UNLABELLED
    if volume.unlabelled_value is not None:
        value_map[volume.unlabelled_value] = UNLABELLED
    return read_mask(volume.scribble_mask, geometry, value_map=value_map, part=volume.scribble_part)
