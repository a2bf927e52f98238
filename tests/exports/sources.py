"""One small image of every format, with a mask on its grid."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.datasets.records import DatasetListing, VolumeSource, suggest_class
from app.formats.files import read_image
from app.formats.image import from_stack
from app.formats.nifti import write_nifti
from tests.formats.test_dicom_seg import _study

CLASSES = (suggest_class(0, "background"), suggest_class(1, "first"), suggest_class(200, "second & third"))
OBLIQUE = np.array([[0.1, -0.9, 0.2, 5], [-1.2, -0.1, 0.3, -7], [0.2, 0.1, -6.0, 11], [0, 0, 0, 1]])


def make_listing(folder: Path) -> tuple[DatasetListing, dict[str, NDArray[np.uint8]]]:
    """A listing of one volume a format, and their masks in the (i, j, k) axes of their files."""
    masks, volumes = {}, []
    for seed, (name, path) in enumerate(_write_images(folder).items()):
        part = "image" if name == "arrays.h5" else ""
        geometry = read_image(path, part=part).geometry
        values = np.array([0, 0, 0, 1, 200], np.uint8)
        stack = np.random.default_rng(seed).choice(values, geometry.stack_shape)
        target = folder / f"mask{seed}.nii.gz"
        target.write_bytes(write_nifti(stack, geometry, admit_no_spacing=True))
        masks[name] = from_stack(stack, geometry.axis)
        volumes.append(VolumeSource(f"patient {seed}", name, "", "train", path, target, part=part))
    return DatasetListing("everything", CLASSES, tuple(volumes)), masks


def _write_images(folder: Path) -> dict[str, Path]:
    generator = np.random.default_rng(1)
    voxels = generator.integers(-900, 900, (7, 6, 5)).astype(np.int16)
    names = ("oblique.nii.gz", "coronal.nii", "flat.nii", "grid.nrrd", "grid.mha", "arrays.h5", "pictures", "series")
    paths = {name: folder / name for name in names}
    nib.save(nib.Nifti1Image(voxels, OBLIQUE), paths["oblique.nii.gz"])
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 6, 1, 1])), paths["coronal.nii"])  # cut along its second axis
    nib.save(nib.Nifti1Image(voxels[:, :, :1], np.diag([-1.0, -2, 3, 1])), paths["flat.nii"])
    paths["grid.nrrd"].write_bytes(
        b"NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\nendian: little\n"
        b"space directions: (0,1.5,0) (0.75,0,0) (0,0,-4)\nspace origin: (1,2,3)\nencoding: raw\n\n"
        + voxels.tobytes(order="F")
    )
    paths["grid.mha"].write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        b"TransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 4 5 6\nElementSpacing = 0.5 0.75 3\nDimSize = 7 6 5\n"
        b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + voxels.tobytes(order="F")
    )
    with h5py.File(paths["arrays.h5"], "w") as file:
        file["image"] = voxels.astype(np.float32)
    paths["pictures"].mkdir()
    for z in range(3):
        Image.fromarray(generator.integers(0, 255, (6, 8, 3)).astype(np.uint8)).save(paths["pictures"] / f"{z}.png")
    _study(paths["series"])
    return paths
