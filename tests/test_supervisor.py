"""What a supervised worker starts with, and what becomes of one that cannot start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.names import Queue
from app.settings import Settings
from app.supervisor import Supervisor, worker_environment


@pytest.mark.parametrize(
    "given",
    [
        {},
        {
            "database_url": "postgresql://ward@db/nextslice",
            "broker_url": "redis://broker:6379/3",
            "job_lease_s": 7.5,
            "torch_threads": 2,
            "weights_folder": "weights of the ward",
        },
    ],
)
def test_a_worker_reads_the_settings_of_its_supervisor(
    given: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///elsewhere.db")  # the supervisor's own settings win
    settings = Settings.model_validate({"home": tmp_path, "database_url": f"sqlite:///{tmp_path}/a.db", **given})
    read = subprocess.run(
        [sys.executable, "-c", "from app.settings import Settings; print(Settings().model_dump_json())"],
        env=worker_environment(settings),
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Settings.model_validate_json(read.stdout) == settings


def test_a_worker_that_cannot_start_is_tried_again_and_its_reason_stands_in_the_log(tmp_path: Path) -> None:
    supervisor = Supervisor(Settings(home=tmp_path), module="no_such_module", queues=(Queue.CPU,))
    supervisor.start()
    log = tmp_path / "logs" / "worker-cpu.log"
    deadline = time.monotonic() + 60
    while not log.exists() or log.read_text(encoding="utf-8").count("no_such_module was not found") < 2:
        assert time.monotonic() < deadline, "it was not tried again"
        time.sleep(0.05)
    supervisor.stop()
    assert supervisor.pids == {}


def test_a_supervisor_that_is_stopped_at_once_leaves_no_worker(tmp_path: Path) -> None:
    supervisor = Supervisor(Settings(home=tmp_path))
    supervisor.start()
    supervisor.stop(grace_s=0.0)
    assert supervisor.pids == {}
