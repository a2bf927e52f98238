import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.formats.nifti import write_nifti
from tests.api.conftest import Service, on_sqlite
from tests.api.test_imports import GEOMETRY, SCHEMA, STACK, zipped

DOCS = Path(__file__).resolve().parents[2] / "docs" / "importing.md"


@on_sqlite
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_lines_in_the_manual_import_a_zip(service: Service, tmp_path: Path) -> None:
    draft = {"slug": "scans", "name": "Scans", "label_schema": SCHEMA, "supervision": "full", "budgets": [10]}
    service.client.post("/v1/projects", draft | {"strategy": "random", "preset": "tiny"})
    (tmp_path / "scans.zip").write_bytes(zipped({"a.nii": write_nifti(STACK, GEOMETRY, compress=False)}) + b"")
    (block,) = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    lines, _, report_line = block.rpartition("curl")
    run: dict[str, Any] = {"cwd": tmp_path, "check": True, "env": os.environ | {"URL": service.url}}
    subprocess.run(["bash", "-euo", "pipefail", "-c", lines], capture_output=True, **run)
    service.work_off()
    job = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))["id"]
    asked = f"JOB={job}; curl{report_line}"
    answer = subprocess.run(["bash", "-euo", "pipefail", "-c", asked], capture_output=True, **run)
    assert json.loads(answer.stdout)["volumes"][0]["slices"] == 4
