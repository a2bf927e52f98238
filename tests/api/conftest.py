"""A real service over HTTP on both engines; jobs are worked off in the test's process where a test wants them done."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.client import Client, import_listing, label_schema_of
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.datasets.records import DatasetListing
from app.db.session import Database
from app.embedded import running_service
from app.names import Queue
from app.outbox import SilentBell
from app.settings import Settings
from app.storage.stores import open_store
from worker.runner import Workplace, run_next_job
from worker.tasks import find_task

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For refusals that no engine has a say in."""


@dataclass(frozen=True)
class Service:
    """A running API without workers, and the means to do its jobs."""

    url: str
    http: httpx.Client
    client: Client
    knobs: Settings
    database: Database

    def work_off(self) -> None:
        """Do every job that waits, in this process, with the real tasks."""
        place = Workplace(
            database=self.database,
            blobs=open_store(self.knobs),
            settings=self.knobs,
            bell=SilentBell(),
            find_task=find_task,
            owner="test",
        )
        for queue in Queue:
            while run_next_job(queue, place):
                continue

    def refusal(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """(status, code) of a request that is refused, its answer checked to be problem details."""
        answer = self.http.request(method, path, **options)
        assert answer.status_code >= 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["detail"].endswith(".")
        assert problem["request_id"] == answer.headers["x-request-id"]
        return answer.status_code, problem["code"]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> DatasetListing:
    """Six small phantom patients with two volumes of five slices each, all three splits among them."""
    config = PhantomConfig(patients=6, slices=5, height=40, width=48, seed=3, fractions=(0.5, 0.2, 0.3))
    return list_phantoms(tmp_path_factory.mktemp("phantoms"), config=config)


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """The API over this test's own database."""
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database_url)
    with running_service(knobs, queues=()) as url, Client(url) as client, httpx.Client(base_url=url) as http:
        database = Database(knobs.database)
        yield Service(url, http, client, knobs, database)
        database.dispose()


@pytest.fixture
def make_project(service: Service, phantoms: DatasetListing) -> Callable[..., dict[str, Any]]:
    """Makes a project of the phantoms, with the given fields changed."""

    def make(slug: str = "hearts", **changes: Any) -> dict[str, Any]:
        draft = {
            "slug": slug,
            "name": slug.title(),
            "label_schema": label_schema_of(phantoms),
            "supervision": "scribble",
            "strategy": "random",
            "budgets": [10, 20],
            "preset": "tiny",
        }
        project: dict[str, Any] = service.client.post("/v1/projects", draft | changes)
        assert import_listing(service.client, slug, phantoms, lambda _done, _total, _message: None).refused == []
        return project

    return make


def packed(mask: NDArray[np.uint8]) -> bytes:
    """The gzip body of a mask as a front end would send it."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(mask.tobytes()) + packer.flush()
