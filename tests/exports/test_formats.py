"""Each format read back with other software, or by hand: what the oracle annotated comes out as it went in."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image

from tests.api.conftest import Service, on_sqlite
from tests.exports.conftest import Masks, read_manifest, volumes_of
from tests.exports.decoders import decode_brush, decode_coco
from tests.exports.sources import CLASSES, OBLIQUE

Export = Callable[..., zipfile.ZipFile]


@on_sqlite
def test_every_format_comes_out_voxel_for_voxel_in_its_own_geometry(
    project: str, masks: Masks, export: Export, tmp_path: Path
) -> None:
    archive = export(format="nifti")
    written = volumes_of(archive)
    assert set(written) == set(masks)
    for name, mask in masks.items():
        path = tmp_path / "out.nii.gz"
        path.write_bytes(archive.read(written[name]["written"]["annotations"]))
        assert np.array_equal(np.asarray(nib.load(path).dataobj), mask), name
    path.write_bytes(archive.read(written["oblique.nii.gz"]["written"]["annotations"]))
    assert np.allclose(nib.load(path).affine, OBLIQUE)


@on_sqlite
def test_a_dicom_segmentation_refers_to_its_series_and_holds_the_mask(
    service: Service, project: str, masks: Masks, export: Export
) -> None:
    archive = export(format="dicom-seg", parts=["annotations"])
    manifest = read_manifest(archive)
    assert [each["volume"] for each in manifest["volumes"]] == ["series"]
    assert {each["reason"] for each in manifest["left_out"]} == {"it was not read from a DICOM series"}
    content = archive.read(manifest["volumes"][0]["written"]["annotations"])
    segmentation = pydicom.dcmread(io.BytesIO(content))

    volume = next(each for each in service.client.items("/v1/projects/everything/volumes") if each["name"] == "series")
    kept = zipfile.ZipFile(io.BytesIO(service.http.get(f"/v1/volumes/{volume['id']}/file").content))
    series = [pydicom.dcmread(io.BytesIO(kept.read(name))) for name in kept.namelist()]
    assert segmentation.Modality == "SEG"
    assert {str(segmentation.StudyInstanceUID)} == {str(each.StudyInstanceUID) for each in series}
    assert str(segmentation.FrameOfReferenceUID) == str(series[0].FrameOfReferenceUID)
    assert str(segmentation.PatientID) == str(series[0].PatientID) != "Somebody"
    labels = {int(each.SegmentNumber): str(each.SegmentLabel) for each in segmentation.SegmentSequence}
    assert labels == {1: "first", 2: "second & third"}

    # Laid back by hand: each frame on the picture that it names, pictures in order of their height.
    order = sorted(series, key=lambda each: float(each.ImagePositionPatient[2]))
    row_of = {str(each.SOPInstanceUID): z for z, each in enumerate(order)}
    found = np.zeros((len(order), series[0].Rows, series[0].Columns), np.uint8)
    for frame, groups in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        z = row_of[str(source.ReferencedSOPInstanceUID)]
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose([float(each) for each in place], [float(each) for each in order[z].ImagePositionPatient])
        segment = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found[z][frame > 0] = {1: 1, 2: 200}[segment]
    assert np.array_equal(found.transpose(2, 1, 0), masks["series"])


@on_sqlite
def test_nnunet_numbers_its_labels_without_gaps(project: str, masks: Masks, export: Export, tmp_path: Path) -> None:
    archive = export(format="nnunet")
    root = "Dataset001_everything"
    description = json.loads(archive.read(f"{root}/dataset.json"))
    assert description["labels"] == {"background": 0, "first": 1, "second & third": 2}
    labels = [name for name in archive.namelist() if "/labelsTr/" in name]
    assert description["numTraining"] == len(labels) == len(masks)
    written = volumes_of(archive)
    assert description["channel_names"] == {"0": "red", "1": "green", "2": "blue"}
    assert {len(each["written"]["images"]) for each in written.values()} == {3}, "nnU-Net takes one number of channels"
    grey = [archive.read(name) for name in written["grid.mha"]["written"]["images"]]
    assert grey[0] == grey[1] == grey[2]
    assert len({archive.read(name) for name in written["pictures"]["written"]["images"]}) == 3
    path = tmp_path / "labels.nii.gz"
    for name, mask in masks.items():
        path.write_bytes(archive.read(written[name]["written"]["labels"]))
        assert np.array_equal(np.asarray(nib.load(path).dataobj), np.where(mask == 200, 2, mask)), name
    assert sorted(json.loads(archive.read(f"{root}/splits_final.json"))[0]["train"]) == sorted(
        Path(name).name.removesuffix(".nii.gz") for name in labels
    )


@on_sqlite
def test_pictures_carry_the_mask_in_three_dialects(project: str, masks: Masks, export: Export) -> None:
    stack = masks["oblique.nii.gz"].transpose(2, 1, 0)  # cut along the last axis
    archive = export(format="png", parts=["annotations"])
    slices = json.loads(archive.read("slices.json"))["slices"]
    ours = [each for each in slices if each["volume"] == "oblique.nii.gz"]
    assert [each["slice"] for each in ours] == list(range(5))
    for each in ours:
        assert np.array_equal(np.array(Image.open(io.BytesIO(archive.read(each["mask"])))), stack[each["slice"]])
        assert Image.open(io.BytesIO(archive.read(each["image"]))).mode == "L"

    archive = export(format="coco", parts=["annotations"])
    coco = json.loads(archive.read("annotations.json"))
    images = {each["id"]: each for each in coco["images"] if each["volume"] == "oblique.nii.gz"}
    found = np.zeros_like(stack)
    for each in coco["annotations"]:
        if each["image_id"] in images:
            region = decode_coco(each["segmentation"]["counts"], each["segmentation"]["size"])
            assert each["area"] == region.sum()
            left, top, width, height = each["bbox"]
            assert region[top : top + height, left : left + width].sum() == region.sum()
            found[images[each["image_id"]]["slice"]][region] = each["category_id"]
    assert np.array_equal(found, stack)
    assert {each["id"]: each["name"] for each in coco["categories"]}[200] == "second & third"

    archive = export(format="label-studio", parts=["annotations"])
    tasks = [each for each in json.loads(archive.read("tasks.json")) if each["data"]["volume"] == "oblique.nii.gz"]
    assert b'<Label value="second &amp; third"' in archive.read("label_config.xml")
    value_of = {each.name: each.value for each in CLASSES}
    found = np.full_like(stack, 255)
    for task in tasks:
        assert task["data"]["image"] in archive.namelist()
        for result in task["annotations"][0]["result"]:
            region = decode_brush(result["value"]["rle"], (result["original_height"], result["original_width"]))
            found[task["data"]["slice"]][region] = value_of[result["value"]["brushlabels"][0]]
    assert np.array_equal(found, stack), "background has a region of its own, so nothing is left unlabelled"
