"""Real scans in, annotated by the oracle, out as NIfTI and DICOM SEG: the published masks, voxel for voxel.

What should come out is read here from the published files alone: by nibabel, by Pillow and pydicom, or by hand.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.datasets.records import DatasetListing
from app.datasets.registry import list_dataset
from tests.api.conftest import Service, on_sqlite
from tests.exports.conftest import annotate_all, volumes_of
from tests.shared_data import shared_data

Grid = tuple[NDArray[Any], NDArray[np.float64]]  # values (i, j, k) and affine in RAS
Export = Callable[..., zipfile.ZipFile]
_TYPES = {"short": "<i2", "int": "<i4", "MET_SHORT": "<i2", "MET_UCHAR": "u1", "MET_CHAR": "i1"}


def by_nibabel(path: Path) -> Grid:
    """Values and affine of a NIfTI file."""
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def by_hand(path: Path) -> Grid:
    """Values and affine of an NRRD or MetaImage file as those of the shared data are written."""
    content = path.read_bytes()
    end = content.index(b"\n\n") + 2 if path.suffix == ".nrrd" else content.index(b"ElementDataFile")
    fields = dict(re.findall(r"^(\w[\w ]*?)(?: = |: )(.*)$", content[:end].decode(), re.MULTILINE))
    shape = [int(length) for length in fields.get("sizes", fields.get("DimSize", "")).split()]
    affine = np.eye(4)
    if path.suffix == ".nrrd":
        vectors = re.findall(r"\(([^)]*)\)", fields["space directions"] + fields["space origin"])
        affine[:3] = np.array([[float(part) for part in vector.split(",")] for vector in vectors]).T
        voxels, kind = gzip.decompress(content[end:]), fields["type"]
    else:
        kind, rest = fields["ElementType"], content[end:].split(b"\n", 1)[1]
        scale = [float(part) for part in fields.get("ElementSpacing", "1 1 1").split()]
        affine[:3, :3] = np.diag(scale)
        affine[:3, 3] = [float(part) for part in fields.get("Offset", "0 0 0").split()]
        voxels = zlib.decompress(rest) if "CompressedData" in fields else path.with_suffix(".raw").read_bytes()
    affine[:2] *= -1  # both formats count to the left and to the back
    flat = np.frombuffer(voxels, _TYPES[kind])[: math.prod(shape)]  # a file may go on behind its voxels
    return flat.reshape(*shape, *[1] * (3 - len(shape)), order="F"), affine


def of_chaos(folder: Path) -> Grid:
    """The liver of a CHAOS series: picture k belongs to file k by name, and slices go up with their place."""
    files = sorted((folder / "DICOM_anon").iterdir())
    masks = [np.array(Image.open(path)) > 0 for path in sorted((folder / "Ground").iterdir())]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    order = sorted(range(len(files)), key=lambda index: float(headers[index].ImagePositionPatient[2]))
    places = np.array([[float(part) for part in headers[index].ImagePositionPatient] for index in order])
    rows, columns = (float(part) for part in headers[0].PixelSpacing)
    affine = np.diag([columns, rows, 0.0, 1.0])
    affine[:3, 2], affine[:3, 3] = (places[-1] - places[0]) / (len(places) - 1), places[0]
    affine[:2] *= -1
    return np.stack([masks[index].T for index in order], axis=2).astype(np.uint8), affine


def of_davis(folder: Path) -> Grid:
    """The masks of a sequence, which lies nowhere."""
    masks = [np.array(Image.open(path)) > 0 for path in sorted(folder.iterdir())]
    return np.stack([mask.T for mask in masks], axis=2).astype(np.uint8), np.eye(4)


def all_train(listing: DatasetListing, names: tuple[str, ...] = ()) -> DatasetListing:
    """The named volumes of a listing, or all, as ones that are annotated."""
    volumes = [volume for volume in listing.volumes if not names or volume.name in names]
    return replace(listing, volumes=tuple(replace(volume, split="train") for volume in volumes))


def acdc(_scratch: Path) -> tuple[DatasetListing, dict[str, Grid]]:
    """Both phases of two patients; one of them is numbered unlike all others."""
    found = list_dataset("acdc", shared_data("acdc"))
    few = tuple(volume for volume in found.volumes if volume.patient in ("patient022", "patient090"))
    assert len(few) == 4
    masks = {volume.image.name: by_nibabel(volume.full_mask) for volume in few if volume.full_mask}
    few = tuple(replace(volume, name=volume.image.name) for volume in few)
    return all_train(replace(found, volumes=few)), masks


def hippocampus(_scratch: Path) -> tuple[DatasetListing, dict[str, Grid]]:
    """One file of each dtype of image and mask that is there."""
    folder = shared_data("hippocampus")
    found = list_dataset("nifti", folder)
    kinds = {
        (nib.load(volume.image).get_data_dtype().name, nib.load(volume.full_mask).get_data_dtype().name): volume.name
        for volume in found.volumes
        if volume.full_mask is not None
    }
    assert len(kinds) > 1
    names = tuple(kinds.values())
    return all_train(found, names), {name: by_nibabel(folder / "labelsTr" / f"{name}.nii.gz") for name in names}


def chaos(_scratch: Path) -> tuple[DatasetListing, dict[str, Grid]]:
    """The one CT."""
    folder = shared_data("chaos_ct")
    return all_train(list_dataset("chaos", folder)), {"CT": of_chaos(folder / "CT" / "3")}


def davis(scratch: Path) -> tuple[DatasetListing, dict[str, Grid]]:
    """The first frames of the sequence."""
    folder = shared_data("davis")
    for kind in ("JPEGImages", "Annotations"):
        place = scratch / kind / "480p" / "camel"
        place.mkdir(parents=True)
        for path in sorted((folder / kind / "480p" / "camel").iterdir())[:6]:
            (place / path.name).symlink_to(path)
    listing = all_train(list_dataset("davis", scratch))
    return listing, {"camel": of_davis(scratch / "Annotations" / "480p" / "camel")}


def nrrd(_scratch: Path) -> tuple[DatasetListing, dict[str, Grid]]:
    """Every image that has a mask."""
    folder = shared_data("nrrd")
    masks = {name: by_hand(folder / f"{name}_label.nrrd") for name in ("brain1", "brain2", "breast1")}
    return all_train(list_dataset("nifti", folder), tuple(masks)), masks


def metaimage(_scratch: Path) -> tuple[DatasetListing, dict[str, Grid]]:
    """The volume, whose mask is on a grid twice as fine and one step ahead of it, and the flat image."""
    folder = shared_data("metaimage")
    fine, fine_affine = by_hand(folder / "3DCT_lung_baseline_mask.mha")
    image, affine = by_hand(folder / "3DCT_lung_baseline_small.mha")
    steps = np.array([[2, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]])
    assert np.allclose(fine_affine @ steps, affine, atol=1e-3)
    lung = fine[1::2, 1::2, 1::2]
    assert lung.shape == image.shape
    masks = {"3DCT_lung_baseline_small": (lung, affine), "fixed": by_hand(folder / "mask_fixed.mhd")}
    return all_train(list_dataset("nifti", folder), tuple(masks)), masks


@on_sqlite
@pytest.mark.parametrize("source", [acdc, hippocampus, chaos, davis, nrrd, metaimage])
def test_published_masks_come_out_voxel_for_voxel_where_they_lay(
    source: Callable[[Path], tuple[DatasetListing, dict[str, Grid]]], service: Service, export: Export, tmp_path: Path
) -> None:
    listing, masks = source(tmp_path / "subset")
    annotate_all(service, "real", listing, "full")
    archive = export("real", format="nifti", parts=["annotations"])
    written = volumes_of(archive)
    assert set(written) == set(masks)
    table = next(iter(listing.volumes)).mask_values or {}
    for name, (mask, affine) in masks.items():
        path = tmp_path / "out.nii.gz"
        path.write_bytes(archive.read(written[name]["written"]["annotations"]))
        found = nib.load(path)
        expected = (
            mask if listing.name in ("chaos", "davis") else np.vectorize(lambda value: table.get(value, value))(mask)
        )
        assert np.array_equal(np.asarray(found.dataobj), expected), name
        assert np.asarray(found.dataobj).any(), name
        assert np.allclose(found.affine, affine, rtol=1e-4, atol=1e-3), name
    if source is chaos:
        check_segmentation(service, export("real", format="dicom-seg", parts=["annotations"]), masks["CT"])


def check_segmentation(service: Service, archive: zipfile.ZipFile, truth: Grid) -> None:
    """The bits as the standard packs them, each frame laid where its own position says: the published mask again."""
    (entry,) = volumes_of(archive).values()
    seg = pydicom.dcmread(io.BytesIO(archive.read(entry["written"]["annotations"])))
    mask, affine = truth
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert [float(part) for part in orientation] == [1, 0, 0, 0, 1, 0]
    found = np.zeros_like(mask)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = [float(part) for part in groups.PlanePositionSequence[0].ImagePositionPatient]
        i, j, k = np.linalg.solve(affine[:3, :3], np.array(place) * (-1, -1, 1) - affine[:3, 3])
        assert np.allclose((i, j, k), (0, 0, round(k)), atol=1e-3)
        found[:, :, round(k)] = frame.T
    assert np.array_equal(found, mask)
    # The pictures that it names are those of the series as it is kept.
    volume = next(service.client.items("/v1/projects/real/volumes"))
    kept = zipfile.ZipFile(io.BytesIO(service.http.get(f"/v1/volumes/{volume['id']}/file").content))
    series = [pydicom.dcmread(io.BytesIO(kept.read(name)), stop_before_pixels=True) for name in kept.namelist()]
    named = {
        str(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        for groups in seg.PerFrameFunctionalGroupsSequence
    }
    assert named <= {str(each.SOPInstanceUID) for each in series}
    assert str(seg.FrameOfReferenceUID) == str(series[0].FrameOfReferenceUID)
