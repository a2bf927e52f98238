"""HDF5 files that hold a volume as a (slice, row, column) array, as published code of this field keeps them."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

from app.errors import ImageTooLarge, MissingExtra, NotAnImage, UnsupportedDtype, WrongDimensions
from app.formats.image import MAX_IMAGE_BYTES
from app.formats.voxels import FileVoxels


def load_hdf5(path: Path, *, part: str = "image", max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The (column, row, slice) voxels of the array called `part`; such files say nothing of spacing or place.

    Raises `MissingExtra`, `NotAnImage`, `ImageTooLarge`, `WrongDimensions` and `UnsupportedDtype`.
    """
    if find_spec("h5py") is None:
        raise MissingExtra("HDF5", "train")
    import h5py
    import numpy as np

    try:
        with h5py.File(path, "r") as file:
            array = file.get(part)
            if not isinstance(array, h5py.Dataset):
                raise NotAnImage(path.name, f"it holds no array {part!r}")
            size = math.prod(array.shape) * array.dtype.itemsize
            if size > max_bytes:
                raise ImageTooLarge(path.name, size, max_bytes)
            if len(array.shape) != 3 or size == 0:
                raise WrongDimensions(path.name, array.shape, "a (slice, row, column) volume is needed")
            if array.dtype.kind not in "biuf":
                raise UnsupportedDtype(path.name, array.dtype.name)
            voxels = array[()].transpose(2, 1, 0)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise NotAnImage(path.name, f"it is no sound HDF5 file ({str(error).splitlines()[0][:120]})") from None
    return FileVoxels(path.name, voxels, np.eye(4), None, axis=2)
