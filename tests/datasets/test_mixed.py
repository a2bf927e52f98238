import io
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from app.datasets.dicom import list_dicom
from app.datasets.inputs import input_folder, layout_of
from app.datasets.mixed import list_mixed
from app.datasets.originals import keep_original
from app.datasets.records import read_full_mask, read_volume_image
from app.errors import ArchiveRefused, DatasetUnreadable, WrongDimensions
from app.formats.archives import unpack_zip
from app.formats.deidentify import Deidentifier
from tests.formats.test_dicom_seg import segmented_series


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_de_identified_series_is_still_labelled_by_its_segmentation(tmp_path: Path) -> None:
    mask = segmented_series(tmp_path / "in")
    (volume,) = list_dicom(tmp_path / "in", key=b"k").volumes
    (tmp_path / "scratch").mkdir()
    _, kept = keep_original(volume, tmp_path / "scratch", Deidentifier(b"k"))
    assert b"Doe^Jane" not in kept.read_bytes()
    (tmp_path / "out").mkdir()
    assert unpack_zip(kept, tmp_path / "out") == []
    listing = list_dicom(tmp_path / "out", key=b"k")
    assert listing.problems == ()
    (again,) = listing.volumes
    image = read_volume_image(again)
    assert np.array_equal(image.array, read_volume_image(volume).array)
    assert np.array_equal(read_full_mask(again, image.geometry), mask)
    assert pydicom.dcmread(tmp_path / "out" / "000001.dcm").PatientID == volume.patient


def test_a_zip_a_file_and_a_folder_are_read_alike(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.eye(4)), tmp_path / "a b.nii")
    content = (tmp_path / "a b.nii").read_bytes()
    archive = _zip(tmp_path / "x.zip", {"top/a b.nii": content, "../b.nii": content, "/c.nii": content})
    for path, left_out in ((archive, ["../b.nii", "/c.nii"]), (tmp_path / "a b.nii", [])):
        with input_folder(path) as (folder, problems):
            assert layout_of("auto", folder) == "mixed"
            assert [volume.name for volume in list_mixed(folder).volumes] == ["a b"]
            assert [problem.name for problem in problems] == left_out
        assert not folder.exists()
    assert not (tmp_path.parent / "b.nii").exists()


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "bomb.zip", {f"{number}.nii": bytes(1 << 20) for number in range(8)})
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveRefused, match="more than 5000000 bytes"):
        unpack_zip(archive, tmp_path / "out", max_bytes=5_000_000)
    assert list((tmp_path / "out").iterdir()) == []


def test_links_and_encrypted_and_doubled_members_are_left_out_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link.nii")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.nii", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.nii", b"two")
    (tmp_path / "out").mkdir()
    refused = unpack_zip(tmp_path / "x.zip", tmp_path / "out")
    assert [(str(bad.path), bad.reason.split("(")[-1]) for bad in refused] == [
        ("link.nii", "it is a link, not a file."),
        ("a.nii", "another member has the same name)."),
    ]
    assert (tmp_path / "out" / "a.nii").read_bytes() == b"one"


def test_an_encrypted_member_is_named_and_a_wholly_encrypted_archive_says_why(tmp_path: Path) -> None:
    for name, others in (("some.zip", {"plain.nii": b"one"}), ("all.zip", {})):
        content = bytearray(_zip(tmp_path / name, {"secret.nii": b"x", **others}).read_bytes())
        content[6] |= 1  # the flag of encryption, in the member's own header and in the directory
        content[content.index(b"PK\x01\x02") + 8] |= 1
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).with_suffix("").mkdir()
    refused = unpack_zip(tmp_path / "some.zip", tmp_path / "some")
    assert [(str(bad.path), bad.reason) for bad in refused] == [
        ("secret.nii", "it is encrypted: unpack it with its password first.")
    ]
    with pytest.raises(ArchiveRefused, match=r"none of its files can be unpacked \(secret.nii: it is encrypted"):
        unpack_zip(tmp_path / "all.zip", tmp_path / "all")


def test_pages_of_a_tiff_are_slices_and_a_mask_beside_is_theirs(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 4000, (3, 5, 6)).astype(np.uint16)
    for name, planes in (("cell", stack), ("cell_mask", (stack > 2000).astype(np.uint8))):
        first, *rest = [Image.fromarray(plane) for plane in planes]
        first.save(tmp_path / f"{name}.tif", save_all=True, append_images=rest)
    (volume,) = list_mixed(tmp_path).volumes
    image = read_volume_image(volume)
    assert np.array_equal(image.array, stack)
    assert np.array_equal(read_full_mask(volume, image.geometry), stack > 2000)


def test_pictures_of_other_sizes_and_masks_without_images_are_named(tmp_path: Path) -> None:
    for folder, sizes in (("scan/images", (5, 6)), ("lonely/masks", (5, 5))):
        (tmp_path / folder).mkdir(parents=True)
        for number, size in enumerate(sizes):
            out = io.BytesIO()
            Image.fromarray(np.zeros((size, 5), np.uint8)).save(out, format="PNG")
            (tmp_path / folder / f"{number}.png").write_bytes(out.getvalue())
    listing = list_mixed(tmp_path)
    assert [(problem.name, problem.reason) for problem in listing.problems] == [
        ("lonely/masks", "they are masks without images")
    ]
    with pytest.raises(WrongDimensions, match=r"1\.png"):
        read_volume_image(listing.volumes[0])


def test_a_folder_without_any_image_names_its_files(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"x")
    (tmp_path / "scan.hdr").write_bytes(b"x")
    with pytest.raises(DatasetUnreadable, match=r"film\.mp4: it is a video.*scan\.hdr: it is half of an Analyze"):
        list_mixed(tmp_path)
