"""A running service over a database of its own with any number of proposed slices, for the other benchmarks here.

The rows of volumes, slices, picks and assignments are written in bulk, as an import and a proposal would have left
them; everything that is measured goes over HTTP.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import insert, select
from sqlalchemy.engine import make_url

from app.db.migrate import migrate
from app.db.models import Assignment, Patient, Pick, Project, Round, Slice, Volume, new_id
from app.db.session import Database
from app.names import RoundState, Split, Supervision
from app.outbox import SilentBell, unit_of_work

SLUG = "storm"
_DEPTH = 500  # slices a volume
_CHUNK = 5000
_START_S = 60.0


@dataclass(frozen=True)
class Bench:
    """The service's addresses, its database, its processes with the seconds that each took to answer first."""

    urls: tuple[str, ...]
    database: Database
    pids: tuple[int, ...]
    start_s: tuple[float, ...]

    def is_finished(self) -> bool:
        """Whether every slice is annotated or excluded."""
        with self.database.reading() as session:
            return session.scalars(select(Assignment.id).where(~Assignment.done).limit(1)).first() is None


@contextmanager
def open_bench(
    database: str, folder: Path, *, slices: int, side: int, processes: int = 1, knobs: dict[str, str] | None = None
) -> Iterator[Bench]:
    """Processes of the API over a new database (`sqlite`, or one made on the server of a PostgreSQL URL)."""
    with new_database(database, folder) as url:
        opened = Database(url)
        migrate(opened)
        _propose(opened, slices, side)
        _settle(opened)
        environment = os.environ | {"NEXTSLICE_HOME": str(folder), "NEXTSLICE_DATABASE_URL": url} | (knobs or {})
        environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), environment.get("PYTHONPATH", "")])
        started = [_start(environment, folder / f"api-{number}.log") for number in range(processes)]
        try:
            yield Bench(
                urls=tuple(each[1] for each in started),
                database=opened,
                pids=tuple(each[0].pid for each in started),
                start_s=tuple(each[2] for each in started),
            )
        finally:
            for process, _, _ in started:
                process.terminate()
            for process, _, _ in started:
                process.wait(30)
            opened.dispose()


@contextmanager
def new_database(server: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database, made on the server of this URL and dropped afterwards; `sqlite`: a file."""
    if server == "sqlite":
        yield f"sqlite:///{folder / 'nextslice.db'}"
        return
    name = f"nextslice_bench_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _start(environment: dict[str, str], log: Path) -> tuple[subprocess.Popen[bytes], str, float]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)]
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--no-access-log"], env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    while time.monotonic() < begun + _START_S:
        try:
            httpx.get(f"{url}/healthz", timeout=5).raise_for_status()
            return process, url, time.monotonic() - begun
        except httpx.TransportError:
            if process.poll() is not None:
                break
            time.sleep(0.02)
    process.kill()
    raise RuntimeError(f"the API did not start: {log.read_text(errors='replace')[-2000:]}")


def _propose(database: Database, count: int, side: int) -> None:
    with unit_of_work(database, SilentBell()) as session:
        classes = [{"value": value, "name": str(value), "color": "#000000"} for value in (0, 1)]
        project = Project(
            slug=SLUG,
            name="Storm",
            label_schema=classes,
            supervision=Supervision.FULL,
            strategy="random",
            budgets=[100.0],
            seed=0,
            protocol={},
            auto_train=False,
        )
        session.add(project)
        session.flush()
        patient = Patient(project_id=project.id, code="p", split=Split.TRAIN)
        opened = Round(
            project_id=project.id,
            number=1,
            budget_percent=100.0,
            target=count,
            state=RoundState.ANNOTATING,
            strategy="random",
            seed=0,
        )
        session.add_all([patient, opened])
        session.flush()
        volumes = [_volume_row(project.id, patient.id, number, side) for number in range(-(-count // _DEPTH))]
        session.execute(insert(Volume), volumes)
        for first in range(0, count, _CHUNK):
            places = range(first, min(first + _CHUNK, count))
            ids = [new_id() for _ in places]
            own: dict[str, Any] = {"project_id": project.id}
            session.execute(
                insert(Slice),
                [
                    own | {"id": id_, "volume_id": volumes[place // _DEPTH]["id"], "index": place % _DEPTH}
                    for id_, place in zip(ids, places, strict=True)
                ],
            )
            picked = [
                own | {"round_id": opened.id, "slice_id": id_, "order": place + 1}
                for id_, place in zip(ids, places, strict=True)
            ]
            why = {"value": 0.0, "reason": "drawn", "seed": 0}
            session.execute(insert(Pick), [row | why for row in picked])
            session.execute(insert(Assignment), picked)


def _settle(database: Database) -> None:
    """Leave the tables as PostgreSQL's own housekeeping does within minutes, so that it does not begin meanwhile."""
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")


def _volume_row(project: uuid.UUID, patient: uuid.UUID, number: int, side: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "project_id": project,
        "patient_id": patient,
        "name": f"v{number:05}",
        "original_name": "v.nii.gz",
        "original_key": "",
        "original_sha256": "",
        "axis": 2,
        "depth": _DEPTH,
        "height": side,
        "width": side,
        "channels": 1,
        "dtype": "uint8",
        "spacing_mm": [5.0, 1.0, 1.0],
        "affine": [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 5.0, 0], [0, 0, 0, 1]],
        "window_low": 0.0,
        "window_high": 1.0,
        "pack_key": "",
        "pack_offsets": [],
    }
