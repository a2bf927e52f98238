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
    annotate_all(service, "everything", everything[0], "mixed")
    return "everything"


def annotate_all(service: Service, slug: str, listing: DatasetListing, supervision: str) -> None:
    """A project with the volumes of a listing, whose slices the oracle has all annotated."""
    client = service.client
    client.post(
        "/v1/projects",
        {
            "slug": slug,
            "name": slug,
            "label_schema": label_schema_of(listing),
            "supervision": supervision,
            "strategy": "random",
            "budgets": [100],
            "preset": "tiny",
            "auto_train": False,
        },
    )
    assert import_listing(client, slug, listing, lambda _done, _total, _message: None).refused == []
    client.post(f"/v1/projects/{slug}/rounds")
    service.work_off()
    slices = sum(volume["shape"][0] for volume in client.items(f"/v1/projects/{slug}/volumes"))
    assert client.post(f"/v1/projects/{slug}/oracle")["annotated"] == slices


@pytest.fixture
def export(service: Service) -> Callable[..., zipfile.ZipFile]:
    """Asks for an export, has it made and opens it."""

    def make(slug: str = "everything", **asked: Any) -> zipfile.ZipFile:
        job = service.client.post(f"/v1/projects/{slug}/exports", asked)
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
