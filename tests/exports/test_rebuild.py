"""Packs of slices made anew from what is kept, for a volume of every format."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from app.cli import app as cli
from app.db.models import AuditEvent, Volume
from app.settings import settings
from app.storage.stores import LocalStore
from tests.api.conftest import Service, on_sqlite


@pytest.fixture
def command(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    """The command line of the service at hand."""
    monkeypatch.setenv("NEXTSLICE_HOME", str(service.knobs.home))
    monkeypatch.setenv("NEXTSLICE_DATABASE_URL", service.knobs.database_url)
    settings.cache_clear()
    yield CliRunner()
    settings.cache_clear()


def _run(command: CliRunner, *words: str) -> Result:
    return command.invoke(cli, [*words])


@on_sqlite
def test_packs_that_are_lost_or_damaged_come_back_byte_for_byte(
    service: Service, project: str, command: CliRunner
) -> None:
    store = LocalStore(service.knobs.blob_folder)
    with service.database.reading() as session:
        packs = {volume.name: volume.pack_key for volume in session.scalars(select(Volume))}
    before = {name: store.get(key) for name, key in packs.items()}
    distinct = sorted(set(packs.values()))  # equal slices are kept once, whatever format they came in
    assert len(before) == 8
    for number, key in enumerate(distinct):
        if number % 2:
            store.delete(key)
        else:
            damaged = bytearray(store.get(key))
            damaged[len(damaged) // 2] ^= 1
            (store.root / key).write_bytes(damaged)
    verified = _run(command, "verify")
    assert verified.exit_code == 1
    assert all(key in verified.output for key in packs.values())
    rebuilt = _run(command, "rebuild", "--project", project)
    assert f"8 volumes looked at, {len(distinct)} packs rebuilt, 0 failed." in rebuilt.output, rebuilt.output
    assert {name: store.get(key) for name, key in packs.items()} == before
    assert _run(command, "verify").exit_code == 0
    assert "8 volumes looked at, 0 packs rebuilt, 0 failed." in _run(command, "rebuild").output
    assert "8 packs rebuilt" in _run(command, "rebuild", "--all").output


@on_sqlite
def test_a_pack_that_another_compressor_made_is_replaced_and_a_lost_original_is_said(
    service: Service, project: str, command: CliRunner
) -> None:
    store = LocalStore(service.knobs.blob_folder)
    with service.database.writing() as session:
        volume = next(each for each in session.scalars(select(Volume)) if each.name == "grid.nrrd")
        key, offsets, volume_id = volume.pack_key, volume.pack_offsets, volume.id
        volume.pack_key, volume.pack_offsets = store.put(b"made elsewhere"), [0] * len(offsets)
        session.commit()
    rebuilt = _run(command, "rebuild", "--all", "--volume", str(volume_id))
    assert "1 packs rebuilt" in rebuilt.output, rebuilt.output
    with service.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        assert (volume.pack_key, volume.pack_offsets) == (key, offsets)
        assert "nextslice rebuild" in set(session.scalars(select(AuditEvent.action)))
        original = volume.original_key
    store.delete(original)
    store.delete(key)
    refused = _run(command, "rebuild", "--volume", str(volume_id))
    assert refused.exit_code == 1
    assert "'grid.nrrd' of patient" in refused.output
    assert "cannot be made anew: of its original" in refused.output
    assert "1 failed" in refused.output
