"""Any file or folder that can be taken in -> its image or mask, by the format that its name tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import NotAnImage
from app.formats import nifti
from app.formats.image import MAX_IMAGE_BYTES, Geometry, Image3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGE_SUFFIXES = (".nii", ".nii.gz")


def image_stem(path: Path) -> str | None:
    """The file's name without its image suffix, or None where it is no image that can be taken in."""
    lower = path.name.lower()
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return path.name[: -len(suffix)]
    return None


def read_image(path: Path, *, axis: int | None = None, max_bytes: int = MAX_IMAGE_BYTES) -> Image3D:
    """The image at a path; raises the image errors of its format, `NotAnImage` for a name of no known one."""
    if image_stem(path) is None:
        raise NotAnImage(path.name, f"its name ends in none of {', '.join(IMAGE_SUFFIXES)}")
    return nifti.read_nifti(path, axis=axis, max_bytes=max_bytes)


def read_mask(
    path: Path, geometry: Geometry, *, value_map: Mapping[int, int] | None = None, max_bytes: int = MAX_IMAGE_BYTES
) -> NDArray[np.uint8]:
    """The uint8 (Z, H, W) mask at a path, checked against its image's geometry; errors as in `read_image`."""
    if image_stem(path) is None:
        raise NotAnImage(path.name, f"its name ends in none of {', '.join(IMAGE_SUFFIXES)}")
    return nifti.read_nifti_mask(path, geometry, value_map=value_map, max_bytes=max_bytes)


def read_mask_values(path: Path, most: int) -> set[int]:
    """The values that occur in a mask file, at most `most` of them; errors as in `read_image`."""
    return nifti.read_nifti_mask_values(path, most=most)
