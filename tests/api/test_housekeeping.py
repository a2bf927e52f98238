"""`gc` and `verify` on a project with a closed round, on both engines; the whole loop with its blobs on S3."""

from __future__ import annotations

import io
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app as cli
from app.client import Client
from app.db.session import Database
from app.embedded import running_service
from app.errors import StoreUnreachable
from app.services.housekeeping import find_bad_blobs, find_orphans, iterate_references, remove_orphans
from app.settings import Settings, settings
from app.storage.blobs import BlobStore
from app.storage.stores import LocalStore, open_store
from tests.api.conftest import Service, on_sqlite

DAY_S = 24 * 3600.0


def close_round(service: Service) -> str:
    """One round with everything that makes blobs: encoder, members, predictions, an export (whose job is given)."""
    opened = service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    service.client.post("/v1/projects/hearts/oracle")
    service.work_off()
    assert service.client.get(f"/v1/rounds/{opened['id']}")["state"] == "closed"
    export = service.client.post("/v1/projects/hearts/exports")
    service.work_off()
    return str(export["id"])


def age(blobs: LocalStore, seconds: float) -> None:
    for blob in blobs.iterate():
        os.utime(blobs.root / blob.key, (time.time() - seconds,) * 2)


def test_nothing_that_a_row_names_is_an_orphan(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(strategy="gcl")
    close_round(service)
    blobs = open_store(service.knobs)
    assert isinstance(blobs, LocalStore)
    age(blobs, 2 * DAY_S)
    before = {blob.key for blob in blobs.iterate()}
    with service.database.snapshot() as session:
        named = dict(iterate_references(session))
    assert set(named) == before
    columns = {"volumes.pack_key", "models.weights_key", "models.features_key", "rounds.cover_key", "jobs.result"}
    assert set(named.values()) >= columns

    orphan = blobs.put(b"nobody's")
    assert find_orphans(service.database, blobs) == [], "too young: its row may be about to be committed"
    os.utime(blobs.root / orphan, (1000, 1000))
    assert [blob.key for blob in find_orphans(service.database, blobs)] == [orphan]
    assert {blob.key for blob in blobs.iterate()} == before | {orphan}, "finding removes nothing"
    assert [blob.key for blob in remove_orphans(service.database, blobs)] == [orphan]
    assert {blob.key for blob in blobs.iterate()} == before


@on_sqlite
def test_missing_and_damaged_blobs_are_found_with_who_names_them(
    service: Service, make_project: Callable[..., Any]
) -> None:
    make_project()
    blobs = open_store(service.knobs)
    assert isinstance(blobs, LocalStore)
    assert all(found is None for _, found in find_bad_blobs(service.database, blobs))
    with service.database.snapshot() as session:
        keys = {named_by: key for key, named_by in iterate_references(session)}
    content = bytearray((blobs.root / keys["volumes.pack_key"]).read_bytes())
    content[len(content) // 2] ^= 1
    (blobs.root / keys["volumes.pack_key"]).write_bytes(content)
    blobs.delete(keys["ground_truths.mask_key"])
    (blobs.root / keys["volumes.original_key"]).unlink()
    (blobs.root / keys["volumes.original_key"]).mkdir()  # root reads every file, but no folder
    found = {bad.named_by: bad.reason for _, bad in find_bad_blobs(service.database, blobs) if bad}
    assert found == {
        "volumes.pack_key": "its content has another digest",
        "ground_truths.mask_key": "missing",
        "volumes.original_key": "it cannot be read (Is a directory)",
    }
    shutil.rmtree(blobs.root)
    with pytest.raises(StoreUnreachable):
        list(find_bad_blobs(service.database, blobs))


@on_sqlite
def test_both_commands_say_what_they_find(
    service: Service, make_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    blobs = LocalStore(service.knobs.blob_folder)
    orphan = blobs.put(b"nobody's")
    monkeypatch.setenv("NEXTSLICE_HOME", str(service.knobs.home))
    monkeypatch.setenv("NEXTSLICE_DATABASE_URL", service.knobs.database_url)
    settings.cache_clear()
    try:
        run = CliRunner().invoke
        sound = run(cli, ["verify"])
        assert (sound.exit_code, "0 of them missing" in sound.output) == (0, True)
        assert "0 blobs without a row" in run(cli, ["gc"]).output
        listed = run(cli, ["gc", "--grace-h", "0"]).output
        assert orphan in listed
        assert blobs.exists(orphan)
        assert "removed" in run(cli, ["gc", "--grace-h", "0", "--delete"]).output
        assert not blobs.exists(orphan)
        for blob in list(blobs.iterate())[:1]:
            blobs.delete(blob.key)
        broken = run(cli, ["verify"])
        assert (broken.exit_code, "missing (named by" in broken.output) == (1, True)
    finally:
        settings.cache_clear()


@on_sqlite
def test_a_lost_folder_is_an_outage_over_http_and_over_when_it_is_back(
    service: Service, make_project: Callable[..., Any]
) -> None:
    make_project()
    close_round(service)
    volume = next(iter(service.client.items("/v1/projects/hearts/volumes")))
    slice_ = next(iter(service.client.items(f"/v1/volumes/{volume['id']}/slices")))
    model = next(iter(service.client.items("/v1/projects/hearts/models")))
    upload = service.client.post("/v1/projects/hearts/uploads", {"file_name": "a.nii", "size_bytes": 4})
    part = f"/v1/uploads/{upload['id']}/parts/0"
    pictures = [f"/v1/slices/{slice_['id']}/image", f"/v1/models/{model['id']}/weights"]
    away = service.knobs.blob_folder.with_name("away")
    service.knobs.blob_folder.rename(away)
    for mount_point in (False, True):  # gone, and there but empty
        if mount_point:
            service.knobs.blob_folder.mkdir()
        assert service.refusal("PUT", part, content=b"scan") == (503, "store-unreachable")
        for path in pictures:
            assert service.refusal("GET", path) == (503, "store-unreachable")
    service.knobs.blob_folder.rmdir()
    away.rename(service.knobs.blob_folder)
    service.http.put(part, content=b"scan").raise_for_status()
    for path in pictures:
        service.http.get(path).raise_for_status()


@pytest.fixture
def on_s3(sqlite_url: str, tmp_path: Path, s3_bucket: str) -> Settings:
    """Settings of a service whose blobs lie in a bucket."""
    return Settings(home=tmp_path / "home", port=0, database_url=sqlite_url, blob_url=f"s3://{s3_bucket}/hospital")


def test_a_round_with_its_blobs_in_a_bucket(on_s3: Settings, request: pytest.FixtureRequest) -> None:
    with running_service(on_s3, queues=()) as url, Client(url) as client, httpx.Client(base_url=url) as http:
        service = Service(url, http, client, on_s3, Database(on_s3.database))
        _make_phantom_project(service, request)
        export_id = close_round(service)
        assert http.get("/readyz").json()["parts"]["blobs"] == "ok"
        blobs: BlobStore = open_store(on_s3)
        assert sum(1 for _ in blobs.iterate()) > 10
        assert not (on_s3.blob_folder / "sha256").exists(), "nothing is kept on the disk"
        assert all(found is None for _, found in find_bad_blobs(service.database, blobs))
        assert find_orphans(service.database, blobs, grace_s=0) == []
        volume = next(client.items("/v1/projects/hearts/volumes"))
        slice_id = next(client.items(f"/v1/volumes/{volume['id']}/slices"))["id"]
        assert http.get(f"/v1/slices/{slice_id}/image").headers["content-type"] == "image/png"
        archive = zipfile.ZipFile(io.BytesIO(http.get(f"/v1/exports/{export_id}/file").content))
        assert archive.testzip() is None
        service.database.dispose()


def _make_phantom_project(service: Service, request: pytest.FixtureRequest) -> None:
    from app.client import import_listing, label_schema_of

    phantoms = request.getfixturevalue("phantoms")
    service.client.post(
        "/v1/projects",
        {
            "slug": "hearts",
            "name": "Hearts",
            "label_schema": label_schema_of(phantoms),
            "supervision": "full",
            "strategy": "random",
            "budgets": [10],
            "preset": "tiny",
        },
    )
    assert import_listing(service.client, "hearts", phantoms, lambda _done, _total, _message: None).refused == []
