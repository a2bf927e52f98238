"""What the README shows runs as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from app.client import Client
from app.embedded import make_demo_project, running_service
from app.settings import Settings

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.skipif(
    not (shutil.which("jq") and shutil.which("curl")), reason="jq or curl is not installed on this machine"
)
def test_the_loop_over_rest_runs_line_by_line(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").split("## The loop over REST")[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found, "the README shows the loop"
    knobs = Settings(home=tmp_path / "home", port=0, database_url="", broker_url="")
    with running_service(knobs) as url, Client(url) as client:
        make_demo_project(url, knobs)
        deadline = time.monotonic() + 120
        while next(client.items("/v1/projects/demo/rounds"))["state"] != "annotating":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        script = "set -euo pipefail\n" + found[1].replace("http://127.0.0.1:8000", url)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith('{"slug":"demo"')
    assert "the first centre" in lines[1]
    assert "train_segmentation succeeded" in done.stdout
    assert '"number":1' in lines[-1] or '"number":2' in lines[-1]
