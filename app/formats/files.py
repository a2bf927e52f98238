"""Any file or folder that can be taken in -> its image or mask, by the format that its name tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import NotAnImage, ShapeMismatch
from app.formats.dicom import DicomVolume, find_dicom_volumes, load_dicom_volume
from app.formats.frames import (
    PICTURE_SUFFIXES,
    list_frames,
    load_frames,
    load_mask_frames,
    load_mask_pages,
    load_pages,
    natural_key,
)
from app.formats.hdf5 import load_hdf5
from app.formats.image import MAX_IMAGE_BYTES, Geometry, Image3D
from app.formats.metaimage import load_metaimage, metaimage_data_file
from app.formats.nifti import load_nifti
from app.formats.nrrd import load_nrrd, nrrd_data_file
from app.formats.voxels import FileVoxels, mask_values, to_image, to_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIRST_FRAME = "first frame"
"""The part of a 4-D NIfTI file that is its first volume."""

# Longest first, so that `.nii.gz` is found before anything that ends in `.gz`.
_LOADERS: dict[str, Callable[..., FileVoxels]] = {
    ".nii.gz": load_nifti,
    ".nii": load_nifti,
    ".nrrd": load_nrrd,
    ".nhdr": load_nrrd,
    ".mha": load_metaimage,
    ".mhd": load_metaimage,
    ".h5": load_hdf5,
    ".hdf5": load_hdf5,
}


def image_stem(path: Path) -> str | None:
    """The file's name without its image suffix, or None where it is no image that can be taken in."""
    lower = path.name.lower()
    for suffix in _LOADERS:
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return path.name[: -len(suffix)]
    return None


def load_voxels(path: Path, *, part: str = "", max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The voxels at a path: of a file, or of a folder of pictures or DICOM files.

    `part` names one of several volumes of a DICOM folder, frames of a NIfTI file or arrays of an HDF5 file. Raises the
    image errors of the format, and `NotAnImage` for a name of no known one and for a folder in which nothing, or more
    than one thing, could be meant.
    """
    if path.is_dir():
        return _load_folder(path, part, max_bytes)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return load_pages(path, max_bytes=max_bytes)
    stem = image_stem(path)
    if stem is None:
        raise NotAnImage(path.name, f"its name ends in none of {', '.join(_LOADERS)}")
    loader = _LOADERS[path.name[len(stem) :].lower()]
    if loader is load_nifti:
        return load_nifti(path, max_bytes=max_bytes, first_frame=part == FIRST_FRAME)
    if loader is load_hdf5:
        return load_hdf5(path, part=part or "image", max_bytes=max_bytes)
    return loader(path, max_bytes=max_bytes)


def read_image(
    path: Path,
    *,
    axis: int | None = None,
    usual_axis: int | None = None,
    part: str = "",
    max_bytes: int = MAX_IMAGE_BYTES,
) -> Image3D:
    """The image at a path, cut along `axis`; raises as `load_voxels` and `to_image` do."""
    return to_image(load_voxels(path, part=part, max_bytes=max_bytes), axis, usual_axis)


def read_mask(
    path: Path,
    geometry: Geometry,
    *,
    value_map: Mapping[int, int] | None = None,
    part: str = "",
    dicom: DicomVolume | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask at a path, checked against its image; raises as `load_voxels` and `to_mask` do.

    A folder of pictures says nothing of where it lies: its k-th picture belongs to the k-th file of the image, both in
    order of names. `dicom` (what the image was read from) tells which slice that file is; without it the k-th picture
    is slice k.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
        return to_mask(load_mask_pages(path, geometry, max_bytes=max_bytes), geometry, value_map)
    if not path.is_dir():
        return to_mask(load_voxels(path, part=part, max_bytes=max_bytes), geometry, value_map)
    pictures = list_frames(path)
    if dicom is not None:
        pictures = _by_slice(pictures, dicom, geometry)
    return to_mask(load_mask_frames(pictures, geometry, name=path.name), geometry, value_map)


def companion_files(path: Path) -> list[Path]:
    """The files that a header file of another's voxels (.mhd, .nhdr) names and that lie beside it."""
    named = {".mhd": metaimage_data_file, ".nhdr": nrrd_data_file}.get(path.suffix.lower())
    try:
        name = None if named is None else named(path)
    except NotAnImage:
        return []
    beside = None if name is None else path.parent / name
    return [beside] if beside is not None and beside.is_file() and beside != path else []


def _by_slice(pictures: list[Path], volume: DicomVolume, geometry: Geometry) -> list[Path]:
    if len(pictures) != len(volume.pictures):
        raise ShapeMismatch(geometry.stack_shape, (len(pictures), *geometry.stack_shape[1:]))
    names = sorted((picture.path.name for picture in volume.pictures), key=natural_key)
    rank = {name: number for number, name in enumerate(names)}
    return [pictures[rank[picture.path.name]] for picture in volume.pictures]


def read_mask_values(path: Path, most: int) -> set[int]:
    """The values that occur in a mask file, at most `most` of them; raises as `load_voxels` and `mask_values` do."""
    return mask_values(load_voxels(path), most)


def _load_folder(path: Path, part: str, max_bytes: int) -> FileVoxels:
    frames = list_frames(path)
    if frames:
        return load_frames(frames, name=path.name, max_bytes=max_bytes)
    return load_dicom_volume(choose_dicom_volume(path, part), max_bytes=max_bytes)


def choose_dicom_volume(path: Path, part: str = "") -> DicomVolume:
    """The one volume of a DICOM folder, or the one of that part; raises `NotAnImage` where that is not clear."""
    volumes, _ = find_dicom_volumes(path)
    chosen = [volume for volume in volumes if part in ("", volume.part)]
    if len(chosen) == 1:
        return chosen[0]
    if not volumes:
        raise NotAnImage(path.name, "the folder holds neither pictures nor DICOM images")
    parts = ", ".join(repr(volume.part) for volume in volumes[:8])
    raise NotAnImage(path.name, f"the folder holds {len(volumes)} volumes, of which one must be named: {parts}")
