import io
import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.cli_import import ask_axes
from app.client import Imported
from app.datasets.records import VolumeSource
from app.errors import AxisUnclear
from tests.formats.test_dicom_seg import segmented_series


def test_the_command_imports_a_zip_of_dicom_and_says_what_became_of_it(tmp_path: Path) -> None:
    segmented_series(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*.dcm")):
            archive.write(path, path.relative_to(tmp_path / "in"))
        archive.writestr("letter.docx", b"x")
    command = [sys.executable, "-m", "app.cli", "import", "auto", str(tmp_path / "scans.zip"), "--project", "ct"]
    environment = os.environ | {"NEXTSLICE_HOME": str(tmp_path / "home"), "NEXTSLICE_PSEUDONYM_KEY": "secret"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "train: 1 patients, 1 volumes, 5 slices" in said
    assert "left out: letter.docx: it is of no format that is known here" in said
    assert "de-identified (DICOM PS3.15 basic application level confidentiality profile)" in said
    assert "PatientBirthDate" in said
    stored = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert len(stored) > 3
    assert not [path for path in stored if b"Doe^Jane" in path.read_bytes()]


def _isotropic(folder: Path) -> list[str]:
    """A folder of two volumes whose grids tell no axis and one whose grid does; the command that takes it in."""
    folder.mkdir()
    for name, thick in (("cube", 1.0), ("head", 1.0), ("thick", 4.0)):
        nib.save(
            nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([1, 1, thick, 1])), folder / f"sub-1_{name}.nii"
        )
    return [sys.executable, "-m", "app.cli", "import", "auto", str(folder), "--project", "heads"]


def test_without_a_terminal_a_grid_that_tells_no_axis_is_refused_until_one_is_given(tmp_path: Path) -> None:
    command = _isotropic(tmp_path / "in")
    environment = os.environ | {"NEXTSLICE_HOME": str(tmp_path / "home")}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert first.returncode == 1
    assert (
        "refused: sub-1 sub-1_cube: sub-1_cube.nii has 4x5x6 voxels of 1x1x1 mm, which does not tell along which axis"
        in first.stdout
    )
    assert "2 volumes wait for an axis: the same command with --axis 0, 1 or 2" in first.stdout
    assert "train: 1 patients, 3 volumes, 6 slices" in first.stdout
    again = subprocess.run([*command, "--axis", "1"], env=environment, capture_output=True, text=True, check=True)
    assert "16 slices" in again.stdout, "the thick one stays as it was, the others have five slices each"


def test_at_a_terminal_the_axis_is_asked_for_once(tmp_path: Path) -> None:
    command = _isotropic(tmp_path / "in")
    ours, theirs = pty.openpty()
    os.write(ours, b"0\n")
    environment = os.environ | {"NEXTSLICE_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, stdin=theirs, capture_output=True, text=True, check=True)
    os.close(ours)
    os.close(theirs)
    assert "(0: 4 sagittal slices, 1: 5 coronal slices, 2: 6 axial slices). The same holds for 1 more." in done.stdout
    assert done.stdout.count("Axis (0, 1, 2)") == 1
    assert "14 slices" in done.stdout
    assert "refused" not in done.stdout


def test_who_does_not_know_the_axis_may_say_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = [VolumeSource("p", name, "", "train", Path(f"{name}.nii")) for name in "abc"]
    spacings = [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.0, 1.0, 1.0)]
    questions = [AxisUnclear("x", (4, 5, 6), spacing, ("sagittal", "coronal", "axial")) for spacing in spacings]
    imported = Imported([(f"p {name}", "unclear") for name in "abc"])
    imported.unclear = {f"p {each.name}": (each, question) for each, question in zip(volumes, questions, strict=True)}
    terminal = io.StringIO("7\n2\n\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    answers = list(ask_axes(imported))
    assert answers == [(2, ["p a", "p c"], (volumes[0], volumes[2]))]
    imported.settle(answers[0][1], Imported([("p c", "damaged")]))
    assert imported.refused == [("p b", "unclear"), ("p c", "damaged")]
    assert list(imported.unclear) == ["p b"]
