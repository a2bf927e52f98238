"""A volume of any data set as the NIfTI files that a service takes: as they are, or converted without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.datasets.records import LabelClass, VolumeSource, read_full_mask, read_scribble_mask, read_volume_image
from app.errors import NotAnImage
from app.formats.nifti import write_nifti

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.formats.image import Geometry

_NIFTI_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class NamedFile:
    """A file to send."""

    name: str
    content: bytes


@dataclass(frozen=True)
class PreparedVolume:
    """What is sent for a volume. `axis` is None where the service may choose it; `remarks` are for people.

    `unlabelled_value` and `mask_values` say how to read the masks as they are here, which is not how the data set
    keeps them where these were converted.
    """

    image: NamedFile
    full_mask: NamedFile | None
    scribble_mask: NamedFile | None
    unlabelled_value: int | None
    mask_values: Mapping[int, int] | None
    axis: int | None
    remarks: tuple[str, ...]


def prepare_upload(volume: VolumeSource, classes: tuple[LabelClass, ...]) -> PreparedVolume:
    """The files of a volume: its own bytes where all are NIfTI, else conversions with the same stored voxels.

    Raises the image and mask errors of the volume's format.
    """
    paths = (volume.image, volume.full_mask, volume.scribble_mask)
    if all(path is None or path.name.lower().endswith(_NIFTI_SUFFIXES) for path in paths):
        image, full, scribble = (None if path is None else _as_it_is(path) for path in paths)
        assert image is not None
        return PreparedVolume(image, full, scribble, volume.unlabelled_value, volume.mask_values, None, ())
    return _converted(volume, classes)


def _converted(volume: VolumeSource, classes: tuple[LabelClass, ...]) -> PreparedVolume:
    image = read_volume_image(volume)
    geometry = image.geometry
    content = write_nifti(image.array, geometry, slope=image.slope, intercept=image.intercept, admit_no_spacing=True)
    return PreparedVolume(
        image=NamedFile(f"{volume.name}.nii.gz", content),
        full_mask=_mask_file(f"{volume.name}_mask", read_full_mask(volume, geometry), geometry),
        scribble_mask=_mask_file(f"{volume.name}_scribble", read_scribble_mask(volume, geometry, classes), geometry),
        unlabelled_value=None,
        mask_values=None,
        axis=geometry.axis,
        remarks=image.remarks,
    )


def _as_it_is(path: Path) -> NamedFile:
    try:
        return NamedFile(path.name, path.read_bytes())
    except OSError as error:
        raise NotAnImage(path.name, error.strerror or str(error)) from None


def _mask_file(name: str, mask: NDArray[np.uint8] | None, geometry: Geometry) -> NamedFile | None:
    return None if mask is None else NamedFile(f"{name}.nii.gz", write_nifti(mask, geometry, admit_no_spacing=True))
