"""Kill -9 of the worker in mid-training: the round completes by itself, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx

from app.client import Client, import_listing, label_schema_of
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.embedded import running_service
from app.settings import Settings


def test_a_killed_worker_is_replaced_and_the_round_completes(tmp_path: Path) -> None:
    listing = list_phantoms(tmp_path / "hearts", config=PhantomConfig(6, 5, 40, 48, seed=3, fractions=(0.5, 0.2, 0.3)))
    knobs = Settings(home=tmp_path / "home", port=0, database_url="", broker_url="", job_lease_s=3.0, sweep_s=0.5)
    with running_service(knobs) as url, Client(url) as client:
        client.post(
            "/v1/projects",
            {
                "slug": "hearts",
                "name": "Hearts",
                "label_schema": label_schema_of(listing),
                "strategy": "random",
                "budgets": [10],
                "preset": "tiny",
                # Long enough to be hit in the middle of its second member.
                "protocol": {"members": 2, "segmentation": {"iterations_min": 400, "iterations_max": 400}},
            },
        )
        assert import_listing(client, "hearts", listing, lambda _done, _total, _message: None).refused == []
        opened = client.post("/v1/projects/hearts/rounds")
        _wait(lambda: client.get(f"/v1/rounds/{opened['id']}")["state"] == "annotating")
        assert client.post("/v1/projects/hearts/oracle")["annotated"] == 3
        job_id = client.get(f"/v1/rounds/{opened['id']}")["job_id"]
        _wait(lambda: "member 2" in client.get(f"/v1/jobs/{job_id}")["message"])
        assert len(_kill_workers(knobs.home)) == 2, "the worker and its pool's process were there to kill"

        _wait(lambda: client.get(f"/v1/rounds/{opened['id']}")["state"] == "closed")
        job = client.get(f"/v1/jobs/{job_id}")
        assert (job["state"], job["attempts"]) == ("succeeded", 2)
        models = list(client.items("/v1/projects/hearts/models"))
        assert [model["member"] for model in models] == [0, 1], "the member that was done was not trained again"
        picks = list(client.items(f"/v1/rounds/{opened['id']}/picks"))
        assert all(httpx.get(f"{url}/v1/slices/{pick['slice_id']}/annotation").status_code == 200 for pick in picks)


def _kill_workers(home: Path) -> list[int]:
    """Kill -9 the GPU queue's Celery worker of this service and its pool; gives back their process ids."""
    victims = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
        if b"-Q\0gpu" in command and f"NEXTSLICE_HOME={home.resolve()}".encode() in environment:
            victims.append(int(folder.name))
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return victims


def _wait(condition: object, seconds: float = 120.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.1)
