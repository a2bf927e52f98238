import subprocess
import sys
from pathlib import Path

import pytest

from app.datasets.registry import KNOWN_DATASETS, list_dataset
from app.errors import DatasetUnreadable, UnknownDataset


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match=", ".join(KNOWN_DATASETS)):
        list_dataset("imagenet", tmp_path)


@pytest.mark.parametrize("name", [name for name in KNOWN_DATASETS if name != "phantom"])
def test_a_folder_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadable, match="no such folder"):
        list_dataset(name, tmp_path / "absent")
    with pytest.raises(DatasetUnreadable):
        list_dataset(name, tmp_path)


def test_phantoms_need_no_folder_and_are_found_by_their_name(tmp_path: Path) -> None:
    listing = list_dataset("phantom", tmp_path / "new", seed=5)
    assert len(listing.volumes) == 24
    assert list_dataset("phantom", tmp_path / "new", seed=5) == listing
    as_acdc = list_dataset("acdc", tmp_path / "new")
    assert as_acdc.volumes == listing.volumes


def test_importing_the_importers_loads_no_heavy_library() -> None:
    script = (
        "import sys, app.datasets.registry\n"
        "heavy = {'numpy', 'scipy', 'torch', 'nibabel', 'PIL', 'pydicom'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
