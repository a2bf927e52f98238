"""Masks of a whole volume as people send and fetch them: NIfTI, NRRD or a DICOM segmentation, told by the content."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from app.errors import ImageTooLarge, NotAnImage, SegmentsUnknown, ShapeMismatch
from app.formats.dicom_seg import Segmentation, load_segmentation, read_segmentation
from app.formats.image import Geometry
from app.formats.nifti import load_nifti
from app.formats.nrrd import load_nrrd
from app.formats.voxels import to_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNTOUCHED = 255
"""The value of what a file says nothing about."""

_NAME = "The mask"
_ROOM_BYTES = (
    64 * 1024**2
)  # beside eight bytes a voxel: a file of another shape is then told so, a bomb is not unpacked
_LABEL_LENGTH = 64  # what DICOM has room for; exports cut longer names
_DEFLATED = "1.2.840.10008.1.2.1.99"


def is_dicom(content: bytes) -> bool:
    """Whether a file begins as DICOM files do."""
    return content[128:132] == b"DICM"


def read_volume_mask(
    content: bytes, geometry: Geometry, classes: Mapping[int, str], value_map: Mapping[int, int] | None = None
) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask in a file, 255 where it says nothing; `classes` is mask value -> name in the project.

    NIfTI and NRRD must have exactly the voxels of the image, in whatever order; `value_map` must name all their values
    but 255. A DICOM segmentation is laid by its frames' places, 255 where no segment is; its segments are classes by
    `value_map` (segment number -> class), else by label, or by their numbers where no label is the name of a class.
    Raises `SegmentsUnknown` where only some are, the image and mask errors of the format, and `NotAnImage` for anything
    else.
    """
    if is_dicom(content):
        return _read_segmentation(content, geometry, classes, value_map)
    load = load_nrrd if content.startswith(b"NRRD") else load_nifti
    file = load(content, name=_NAME, max_bytes=prod(geometry.shape) * 8 + _ROOM_BYTES)
    if file.voxels.ndim == 3 and prod(file.voxels.shape) != prod(geometry.shape):
        # Of a larger one, which imports take, labels would be lost.
        raise ShapeMismatch(geometry.shape, file.voxels.shape)
    return to_mask(file, geometry, None if value_map is None else {UNTOUCHED: UNTOUCHED, **value_map})


def _read_segmentation(
    content: bytes, geometry: Geometry, classes: Mapping[int, str], value_map: Mapping[int, int] | None
) -> NDArray[np.uint8]:
    with TemporaryDirectory(prefix="nextslice-") as folder:
        path = Path(folder) / "mask.dcm"
        path.write_bytes(content)
        _refuse_deflated(path)
        segmentation = read_segmentation(path)
        most = prod(geometry.shape) + _ROOM_BYTES
        if prod(segmentation.shape) > most:
            raise ImageTooLarge(_NAME, prod(segmentation.shape), most)
        values = _segment_classes(segmentation, classes) if value_map is None else value_map
        return load_segmentation(segmentation, None, geometry, values, outside=UNTOUCHED)


def _segment_classes(segmentation: Segmentation, classes: Mapping[int, str]) -> Mapping[int, int]:
    numbers = {_plain_label(name): value for value, name in classes.items()}
    labels = {segment: _plain_label(label) for segment, label in segmentation.names.items()}
    unknown = [segmentation.names[segment] for segment, label in labels.items() if label not in numbers]
    if not unknown:
        return {segment: numbers[label] for segment, label in labels.items()}
    if len(unknown) < len(labels):
        # Labels that are classes say that the numbers are the file's own: by them another class would be written.
        raise SegmentsUnknown(unknown, classes.values())
    return {segment: segment for segment in labels}


def _plain_label(name: str) -> str:
    return name.strip()[:_LABEL_LENGTH].rstrip().casefold()


def _refuse_deflated(path: Path) -> None:
    from pydicom.filereader import read_file_meta_info

    from app.formats.dicom_headers import damage_errors, first_line

    # Such a file is unpacked as a whole before its header can be judged.
    try:
        if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
            raise NotAnImage(_NAME, "it is deflated as a whole; send it with another transfer syntax")
    except damage_errors() as error:
        raise NotAnImage(_NAME, f"it is no sound DICOM file ({first_line(error)})") from None
