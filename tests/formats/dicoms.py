"""Small DICOM series, written for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = generate_uid(entropy_srcs=["series"])


def write_slice(path: Path, pixels: NDArray[Any], place: Sequence[float] | None, **changes: object) -> None:
    """Write one CT picture; `changes` set elements by keyword, None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    dataset.SeriesInstanceUID = SERIES
    dataset.PatientID, dataset.Modality = "Somebody", "CT"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 3
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if place is not None:
        dataset.ImagePositionPatient = list(place)
    dataset.PixelData = pixels.tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
        if value is None:
            delattr(dataset, keyword)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_series(folder: Path, count: int = 5, step: float = 3.0) -> NDArray[np.int16]:
    """Write a series whose file names run against its places; give back the (Z, H, W) voxels in order of place."""
    voxels = np.random.default_rng(0).integers(-500, 500, (count, 4, 6)).astype(np.int16)
    for z in range(count):
        path = folder / f"i{count - z:04d}.dcm"
        write_slice(path, voxels[z], (10.0, 20.0, step * z - 7), InstanceNumber=count - z, RescaleIntercept="-1024")
    return voxels
