"""The importers by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.datasets.acdc import list_acdc
from app.datasets.acdc_h5 import list_acdc_h5
from app.datasets.chaos import list_chaos_ct, list_chaos_mr
from app.datasets.davis import list_davis
from app.datasets.decathlon import list_decathlon
from app.datasets.dicom import list_dicom
from app.datasets.folder import list_folder
from app.datasets.mixed import list_mixed
from app.datasets.mscmr import list_mscmr
from app.datasets.phantom import list_phantoms
from app.datasets.records import DatasetListing
from app.datasets.splits import FRACTIONS
from app.errors import DatasetUnreadable, UnknownDataset

Fractions = tuple[float, float, float]

# Each takes (path, seed, fractions, key of the pseudonyms); those with published splits need none but the first.
_IMPORTERS: dict[str, Callable[[Path, int, Fractions, bytes], DatasetListing]] = {
    "acdc": lambda path, _seed, _fractions, _key: list_acdc(path),
    "acdc-h5": lambda path, _seed, _fractions, _key: list_acdc_h5(path),
    "chaos": lambda path, _seed, _fractions, _key: list_chaos_ct(path),
    "chaos-mr": lambda path, seed, fractions, _key: list_chaos_mr(path, seed=seed, fractions=fractions),
    "davis": lambda path, _seed, _fractions, _key: list_davis(path),
    "decathlon": lambda path, seed, fractions, _key: list_decathlon(path, seed=seed, fractions=fractions),
    "dicom": lambda path, seed, fractions, key: list_dicom(path, seed=seed, fractions=fractions, key=key),
    "mixed": lambda path, seed, fractions, key: list_mixed(path, seed=seed, fractions=fractions, key=key),
    "mscmr": lambda path, _seed, _fractions, _key: list_mscmr(path),
    "nifti": lambda path, seed, fractions, _key: list_folder(path, seed=seed, fractions=fractions),
    "phantom": lambda path, seed, _fractions, _key: list_phantoms(path, seed=seed),
}

KNOWN_DATASETS = tuple(sorted(_IMPORTERS))


def list_dataset(
    name: str, path: Path, *, seed: int = 0, fractions: Fractions = FRACTIONS, key: bytes = b""
) -> DatasetListing:
    """The volumes of the data set called `name` in the folder `path`.

    `seed` and `fractions` (train, validation, test) draw a split by patient where the data set has none of its own;
    `key` makes the pseudonyms of people that DICOM files name.
    "phantom" writes its files into `path` first, where they are not there yet.
    Raises `UnknownDataset` and `DatasetUnreadable`.
    """
    if name not in _IMPORTERS:
        raise UnknownDataset(name, KNOWN_DATASETS)
    if name != "phantom" and not path.is_dir():
        raise DatasetUnreadable(name, str(path), "there is no such folder")
    return _IMPORTERS[name](path, seed, fractions, key)
