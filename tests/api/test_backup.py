"""A back-up of a live service, restored where nothing was, holds every annotation, model and pixel."""

from __future__ import annotations

import stat
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import inspect
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from app.cli import app as cli
from app.client import Client
from app.db.session import Database
from app.embedded import running_service
from app.errors import BackupRefused
from app.outbox import SilentBell, unit_of_work
from app.services import backups
from app.services.backups import back_up, restore
from app.services.housekeeping import find_bad_blobs
from app.settings import Settings, settings
from app.storage.blobs import blob_key
from app.storage.stores import LocalStore, open_store
from tests.api.conftest import Service, on_sqlite
from tests.api.test_housekeeping import close_round
from tests.rows import add_project

PICTURES = ("image", "annotation", "prediction", "uncertainty")


@pytest.fixture
def empty_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """A database of the same engine without a table."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path}/elsewhere/nextslice.db"
        return
    name = f"nextslice_test_{uuid.uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    yield make_url(database_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(database_url, autocommit=True) as server:
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def invoke(knobs: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    monkeypatch.setenv("NEXTSLICE_HOME", str(knobs.home))
    monkeypatch.setenv("NEXTSLICE_DATABASE_URL", knobs.database_url)
    settings.cache_clear()
    try:
        return CliRunner().invoke(cli, list(words))
    finally:
        settings.cache_clear()


def command(knobs: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    done = invoke(knobs, monkeypatch, *words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def everything(url: str) -> dict[str, Any]:
    """What a service shows of its only project, bytes included, by the address that it was read from."""
    seen: dict[str, Any] = {}
    with Client(url) as client, httpx.Client(base_url=url) as http:
        project = "/v1/projects/hearts"
        for name in ("volumes", "rounds", "models", "model-versions", "snapshots", "jobs", "audit"):
            seen[name] = list(client.items(f"{project}/{name}"))
        for model in seen["models"]:
            seen[model["id"]] = http.get(f"/v1/models/{model['id']}/weights").raise_for_status().content
        for volume in seen["volumes"]:
            for each in client.items(f"/v1/volumes/{volume['id']}/slices"):
                path = f"/v1/slices/{each['id']}"
                seen[path] = [each, list(client.items(f"{path}/annotations"))]
                for name in PICTURES:
                    answer = http.get(f"{path}/{name}")
                    seen[f"{path}/{name}"] = (answer.status_code, answer.content if answer.is_success else None)
    return seen


def test_everything_comes_back_from_a_back_up_of_a_live_service(
    service: Service,
    make_project: Callable[..., Any],
    empty_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_project(strategy="gcl")
    close_round(service)
    service.client.post("/v1/projects/hearts/predictions")
    service.work_off()
    (service.knobs.home / "pseudonym.key").write_text("a" * 64)
    before = everything(service.url)
    assert len(before["models"]) > 1
    assert len([each for path, each in before.items() if path.endswith("/image") and each[0] == 200]) == 60
    annotated = [each for path, each in before.items() if path.endswith("/annotation") and each[0] == 200]
    assert len(annotated) == 3
    assert any(each[0] == 200 for path, each in before.items() if path.endswith("/uncertainty"))
    file = tmp_path / "all.tar"
    assert "is written" in command(service.knobs, monkeypatch, "backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    service.http.delete(f"/v1/volumes/{before['volumes'][0]['id']}").raise_for_status()  # not in it any more

    knobs = Settings(home=tmp_path / "elsewhere", port=0, database_url=empty_url)
    assert "is restored" in command(knobs, monkeypatch, "restore", str(file))
    with running_service(knobs, queues=()) as url:
        assert everything(url) == before
        assert httpx.post(f"{url}/v1/projects/hearts/rounds").status_code == 202, "and the work goes on"
    found = Database(knobs.database)
    assert [bad for _, bad in find_bad_blobs(found, open_store(knobs)) if bad] == []
    assert (knobs.home / "pseudonym.key").read_text() == "a" * 64
    with pytest.raises(BackupRefused, match="has tables already"):
        restore(found, open_store(knobs), knobs, file)
    found.dispose()


@pytest.mark.parametrize("fault", ["cut short", "damaged", "foreign", "no tar", "missing"])
def test_a_file_that_is_no_whole_back_up_leaves_the_database_empty(
    database: Database, empty_url: str, tmp_path: Path, fault: str
) -> None:
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url)
    store = LocalStore(knobs.blob_folder)
    key = store.put(b"slices")
    file, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    assert back_up(database, store, knobs, file).blobs == 1
    with tarfile.open(file) as good, tarfile.open(bad, "w") as other:
        for member in good:
            if fault == "cut short" and member.name == key:
                break
            if fault == "foreign" and member.name == key:
                member.name = "../outside"
            content = good.extractfile(member)
            assert content is not None
            if fault == "damaged" and member.name == key:
                (tmp_path / "blob").write_bytes(b"sloces")
                content = (tmp_path / "blob").open("rb")
            with content:
                other.addfile(member, content)
    if fault == "no tar":
        bad.write_bytes(b"x" * 2000)
    elif fault == "missing":
        bad.unlink()
    there = Settings(home=tmp_path / "elsewhere", port=0, database_url=empty_url)
    target = Database(empty_url)
    with pytest.raises(BackupRefused):
        restore(target, open_store(there), there, bad)
    assert inspect(target.engine).get_table_names() == []
    assert not (tmp_path / "outside").exists()
    restore(target, open_store(there), there, file)
    assert "projects" in inspect(target.engine).get_table_names()
    target.dispose()


@on_sqlite
def test_a_back_up_overwrites_nothing_and_tells_which_blobs_it_lacks(database: Database, tmp_path: Path) -> None:
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url)
    store = LocalStore(knobs.blob_folder)
    sound, damaged = store.put(b"sound"), store.put(b"damaged")
    (store.root / damaged).write_bytes(b"else")
    gone = blob_key("0" * 64)
    with unit_of_work(database, SilentBell()) as session:
        add_project(session).protocol = {"named": gone}
    file = tmp_path / "some.tar"
    done = back_up(database, store, knobs, file)
    assert (done.blobs, done.left_out) == (1, (damaged, gone))
    with tarfile.open(file) as archive:
        assert sound in archive.getnames()
    content = file.read_bytes()
    with pytest.raises(BackupRefused, match="there already"):
        back_up(database, store, knobs, file)
    assert file.read_bytes() == content
    with pytest.raises(BackupRefused):
        back_up(database, store, knobs, tmp_path / "no such folder" / "x.tar")
    assert [each.name for each in tmp_path.iterdir() if "unfinished" in each.name] == []


def test_a_purge_during_a_back_up_is_told(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command too; on PostgreSQL the copy is left to `pg_dump`, of which nothing is wanted here."""
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url)
    store = LocalStore(knobs.blob_folder)
    kept, purged = store.put(b"kept"), store.put(b"purged meanwhile")
    with unit_of_work(database, SilentBell()) as session:
        add_project(session).protocol = {"named": [kept, purged]}

    def copy_and_purge(_database: Database, copy: Path, _target: Path) -> None:
        copy.write_bytes(b"rows that name both")
        store.delete(purged)

    monkeypatch.setattr(backups, "_copy_database", copy_and_purge)
    done = invoke(knobs, monkeypatch, "backup", str(tmp_path / "some.tar"))
    assert done.exit_code == 1
    assert f"{purged}: damaged or gone" in done.output
    assert kept not in done.output
    with tarfile.open(tmp_path / "some.tar") as archive:
        assert kept in archive.getnames()


@on_sqlite
def test_one_engine_is_not_restored_into_another(database: Database, postgres_of_session: str, tmp_path: Path) -> None:
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url)
    file = tmp_path / "sqlite.tar"
    back_up(database, open_store(knobs), knobs, file)
    name = f"nextslice_test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_of_session, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
        other = Database(make_url(postgres_of_session).set(database=name).render_as_string(hide_password=False))
        try:
            with pytest.raises(BackupRefused, match="of SQLite"):
                restore(other, open_store(knobs), knobs, file)
        finally:
            other.dispose()
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
