"""A project of one volume of each format, all of their slices annotated by the oracle."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.client import import_listing, label_schema_of
from app.datasets.records import DatasetListing
from tests.api.conftest import Service, make_project, phantoms, service
from tests.exports.sources import make_listing

__all__ = ["make_project", "phantoms", "service"]  # fixtures of the API's tests

Masks = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetListing, Masks]:
    """Images of all formats and their masks."""
    return make_listing(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def masks(everything: tuple[DatasetListing, Masks]) -> Masks:
    """What the oracle annotated, in the axes of each file."""
    return everything[1]


@pytest.fixture
def project(service: Service, everything: tuple[DatasetListing, Masks]) -> str:
    """The slug of the project."""
    listing, _ = everything
    client = service.client
    client.post(
        "/v1/projects",
        {
            "slug": "everything",
            "name": "Everything",
            "label_schema": label_schema_of(listing),
            "supervision": "mixed",
            "strategy": "random",
            "budgets": [100],
            "preset": "tiny",
            "auto_train": False,
        },
    )
    assert import_listing(client, "everything", listing, lambda _done, _total, _message: None).refused == []
    client.post("/v1/projects/everything/rounds")
    service.work_off()
    slices = sum(volume["shape"][0] for volume in client.items("/v1/projects/everything/volumes"))
    assert client.post("/v1/projects/everything/oracle")["annotated"] == slices
    return "everything"


@pytest.fixture
def export(service: Service) -> Callable[..., zipfile.ZipFile]:
    """Asks for an export, has it made and opens it."""

    def make(**asked: Any) -> zipfile.ZipFile:
        job = service.client.post("/v1/projects/everything/exports", asked)
        service.work_off()
        done = service.client.get(f"/v1/jobs/{job['id']}")
        assert done["state"] == "succeeded", done["error"]
        archive = zipfile.ZipFile(io.BytesIO(service.http.get(f"/v1/exports/{job['id']}/file").content))
        manifest = read_manifest(archive)
        assert set(manifest["sha256"]) == set(archive.namelist()) - {"manifest.json"}
        return archive

    return make


def read_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """The manifest of an export."""
    manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return manifest


def volumes_of(archive: zipfile.ZipFile) -> dict[str, dict[str, Any]]:
    """The manifest's volumes by their names."""
    return {each["volume"]: each for each in read_manifest(archive)["volumes"]}
