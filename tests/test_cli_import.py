import os
import subprocess
import sys
import zipfile
from pathlib import Path

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
