"""A volume of any data set as the NIfTI files that a service takes: as they are, or converted without loss."""

from __future__ import annotations

import gzip
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from app.datasets.originals import keep_original
from app.datasets.records import (
    LabelClass,
    VolumeSource,
    has_full_mask,
    read_full_mask,
    read_scribble_mask,
    read_volume_image,
)
from app.datasets.scribbles import simulate_scribbles
from app.errors import NotAnImage
from app.formats.deidentify import Deidentifier
from app.formats.image import choose_axis
from app.formats.nifti import load_nifti_header, nifti_chunks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.formats.image import Geometry

_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_GZIP_LEVEL = 1  # it travels once and is packed anew at the other end


@dataclass(frozen=True)
class NamedFile:
    """A file to send: what it is called, and where it lies."""

    name: str
    path: Path


@dataclass(frozen=True)
class PreparedVolume:
    """What is sent for a volume. `axis` is the one to cut along; `remarks` are for people.

    `unlabelled_value` and `mask_values` say how to read the masks as they are here, which is not how the data set
    keeps them where these were converted; `original` is then what the image was made from.
    """

    image: NamedFile
    full_mask: NamedFile | None
    scribble_mask: NamedFile | None
    original: NamedFile | None
    unlabelled_value: int | None
    mask_values: Mapping[int, int] | None
    axis: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Privacy:
    """What becomes of people in DICOM files: taken out under a key, unless the untouched series is asked for."""

    key: bytes = b""
    untouched: bool = False

    @cached_property
    def cleaner(self) -> Deidentifier | None:
        """What cleans the files, and counts what it takes out; None where they shall stay untouched."""
        return None if self.untouched else Deidentifier(self.key or secrets.token_bytes(32))

    @property
    def removed(self) -> Counter[str] | None:
        """What was taken out so far, attribute -> times; None where no DICOM file was met."""
        return self.cleaner.removed if "cleaner" in self.__dict__ and self.cleaner is not None else None


def prepare_upload(
    volume: VolumeSource, classes: tuple[LabelClass, ...], scratch: Path, privacy: Privacy, axis: int | None = None
) -> PreparedVolume:
    """The files of a volume: its own where all are NIfTI, else conversions with the same stored voxels in `scratch`.

    Raises the image and mask errors of the volume's format, and `AxisUnclear` before anything is written.
    """
    paths = (volume.image, volume.full_mask, volume.scribble_mask)
    plain = all(path is None or path.name.lower().endswith(_NIFTI_SUFFIXES) for path in paths)
    if plain and not volume.part:
        image, full, scribble = (None if path is None else _as_it_is(path) for path in paths)
        assert image is not None
        values = volume.mask_values
        axis, remarks = _nifti_axis(volume) if axis is None else (axis, ())
        prepared = PreparedVolume(image, full, scribble, None, volume.unlabelled_value, values, axis, remarks)
    else:
        prepared = _converted(volume, classes, scratch, privacy, axis)
    return prepared if volume.simulated_seed is None else _with_scribbles(prepared, volume, scratch)


def _nifti_axis(volume: VolumeSource) -> tuple[int, tuple[str, ...]]:
    header = load_nifti_header(volume.image)
    return choose_axis(volume.image.name, header.shape, header.spacing, header.affine, volume.usual_axis)


def _with_scribbles(prepared: PreparedVolume, volume: VolumeSource, scratch: Path) -> PreparedVolume:
    """The same with scribbles drawn from the dense mask; the file's name says so and under which seed."""
    assert volume.simulated_seed is not None
    geometry = read_volume_image(volume, prepared.axis).geometry
    mask = read_full_mask(volume, geometry)
    assert mask is not None
    drawn = simulate_scribbles(mask, volume.simulated_seed, f"{volume.patient}/{volume.name}")
    path = scratch / f"simulated-scribbles-seed-{volume.simulated_seed}.nii.gz"
    return replace(prepared, scribble_mask=_mask_file(path, drawn, geometry), unlabelled_value=None)


def _converted(
    volume: VolumeSource, classes: tuple[LabelClass, ...], scratch: Path, privacy: Privacy, axis: int | None
) -> PreparedVolume:
    image = read_volume_image(volume, axis)
    geometry = image.geometry
    sent = scratch / "image.nii.gz"
    _write(sent, image.array, geometry, image.slope, image.intercept)
    full = scribble = None
    if has_full_mask(volume):
        full = _mask_file(scratch / "full.nii.gz", read_full_mask(volume, geometry), geometry)
    if volume.scribble_mask is not None:
        scribble = _mask_file(scratch / "scribble.nii.gz", read_scribble_mask(volume, geometry, classes), geometry)
    cleaner = privacy.cleaner if volume.image.is_dir() else None
    name, original = keep_original(volume, scratch, cleaner)
    return PreparedVolume(
        image=NamedFile(f"{volume.name}.nii.gz", sent),
        full_mask=full,
        scribble_mask=scribble,
        original=NamedFile(name, original),
        unlabelled_value=None,
        mask_values=None,
        axis=geometry.axis,
        remarks=image.remarks,
    )


def _as_it_is(path: Path) -> NamedFile:
    try:
        path.open("rb").close()
    except OSError as error:
        raise NotAnImage(path.name, error.strerror or str(error)) from None
    return NamedFile(path.name, path)


def _mask_file(path: Path, mask: NDArray[np.uint8] | None, geometry: Geometry) -> NamedFile | None:
    if mask is None:
        return None
    _write(path, mask, geometry)
    return NamedFile(path.name, path)


def _write(
    path: Path, stack: NDArray[np.generic], geometry: Geometry, slope: float = 1.0, intercept: float = 0.0
) -> None:
    chunks = nifti_chunks(stack, geometry, slope=slope, intercept=intercept, admit_no_spacing=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
        for chunk in chunks:
            file.write(chunk)
