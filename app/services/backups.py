"""Back-ups: the database and every blob in one tar file, taken from a service that goes on working.

    manifest.json     engine, schema revision, version and moment
    database          a copy made by SQLite itself, or what pg_dump wrote (custom format)
    pseudonym.key     where the service keeps one
    sha256/ab/ab...   every blob
    end.json          how many blobs: a file without it was cut short

The database comes first. A blob is written before its row and never changed, so each row of the copy finds its blob.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url

from app.db.migrate import current_revision
from app.db.session import Database
from app.errors import BackupRefused, BadBlobKey, BlobDamaged, BlobNotFound
from app.services.housekeeping import iterate_references
from app.settings import Settings
from app.storage.blobs import CHUNK_BYTES, BlobStore, StoredBlob, blob_digest, verify_blob
from app.storage.secret_key import KEY_FILE

_MANIFEST, _DATABASE, _END = "manifest.json", "database", "end.json"


@dataclass(frozen=True)
class BackedUp:
    """What a back-up holds: blobs, their bytes, and the blobs that are damaged or gone and not in it."""

    blobs: int
    bytes: int
    left_out: tuple[str, ...] = ()


def back_up(database: Database, blobs: BlobStore, knobs: Settings, target: Path) -> BackedUp:
    """Write a back-up, readable by its owner only, to a file that is not there yet; raises BackupRefused."""
    if target.exists():
        raise BackupRefused(str(target), "the file is there already")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            done = _write(database, blobs, knobs, file, target)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise BackupRefused(str(target), error.strerror or str(error)) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return done


def restore(database: Database, blobs: BlobStore, knobs: Settings, source: Path) -> BackedUp:
    """Read a back-up into a database without tables; raises BackupRefused, and then the database is as it was.

    The database comes last, as rows do: a restore that broke off is begun again, over blobs that are there already.
    """
    if inspect(database.engine).get_table_names():
        raise BackupRefused(str(source), "the database to restore into has tables already; it must be an empty one")
    knobs.home.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.NamedTemporaryFile(dir=knobs.home, prefix="restoring-") as copy,
            tarfile.open(source, "r:") as archive,
        ):
            done = _read(archive, blobs, knobs, copy, database, source)
            copy.flush()
            _load_database(database, Path(copy.name), source)
    except (tarfile.TarError, OSError, ValueError, KeyError) as error:
        raise BackupRefused(str(source), f"it cannot be read ({error})") from None
    return done


def _write(database: Database, blobs: BlobStore, knobs: Settings, file: IO[bytes], target: Path) -> BackedUp:
    packed, size, left_out = set(), 0, []
    # Asked before the copy is made: what is purged from then on is in the copy, and is told to be missing.
    with database.snapshot() as session:
        named = {key for key, _ in iterate_references(session)}
    with tarfile.open(fileobj=file, mode="w") as archive:
        manifest = {
            "engine": _engine(database),
            "revision": current_revision(database),
            "version": version("nextslice"),
            "made_at": datetime.now(UTC).isoformat(),
        }
        _add(archive, _MANIFEST, json.dumps(manifest).encode())
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            copy = Path(folder) / _DATABASE
            _copy_database(database, copy, target)
            archive.add(copy, _DATABASE)
        key = knobs.home / KEY_FILE
        if key.is_file():
            _add(archive, KEY_FILE, key.read_bytes())
        for blob in blobs.iterate():
            try:
                verify_blob(blobs, blob.key)
                size += _add_blob(archive, blobs, blob)
                packed.add(blob.key)
            except (BlobDamaged, BlobNotFound):
                left_out.append(blob.key)
        _add(archive, _END, json.dumps({"blobs": len(packed)}).encode())
    return BackedUp(len(packed), size, (*left_out, *sorted(named - packed - set(left_out))))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, BytesIO(content))


def _add_blob(archive: tarfile.TarFile, blobs: BlobStore, blob: StoredBlob) -> int:
    # Through a file, for a tar says how long each member is before it comes, and a blob may be larger than memory.
    with tempfile.TemporaryFile() as whole:
        for chunk in blobs.stream(blob.key):
            whole.write(chunk)
        member = tarfile.TarInfo(blob.key)
        member.size, member.mtime = whole.tell(), int(blob.modified_at)
        whole.seek(0)
        archive.addfile(member, whole)
        return member.size


def _read(
    archive: tarfile.TarFile, blobs: BlobStore, knobs: Settings, copy: IO[bytes], database: Database, source: Path
) -> BackedUp:
    count, size, told = 0, 0, None
    for member in archive:
        content = archive.extractfile(member)
        if content is None:
            raise BackupRefused(str(source), f"{member.name!r} is no file")
        if member.name == _MANIFEST:
            engine = json.load(content)["engine"]
            if engine != _engine(database):
                raise BackupRefused(str(source), f"it is of {engine}, and the database to restore into is not")
        elif member.name == _DATABASE:
            shutil.copyfileobj(content, copy)
        elif member.name == KEY_FILE:
            _restore_key(knobs.home / KEY_FILE, content.read())
        elif member.name == _END:
            told = json.load(content)["blobs"]
        else:
            _restore_blob(blobs, member.name, content, source)
            count, size = count + 1, size + member.size
    if told != count:
        raise BackupRefused(str(source), "it is cut short")
    return BackedUp(count, size)


def _restore_blob(blobs: BlobStore, key: str, content: IO[bytes], source: Path) -> None:
    try:
        blob_digest(key)
    except BadBlobKey:
        raise BackupRefused(str(source), f"it holds {key[:100]!r}, which no back-up does") from None
    if blobs.put_stream(iter(lambda: content.read(CHUNK_BYTES), b"")).key != key:
        raise BackupRefused(str(source), f"the blob {key} in it is damaged")


def _restore_key(path: Path, content: bytes) -> None:
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


def _engine(database: Database) -> str:
    return "SQLite" if database.is_sqlite else "PostgreSQL"


def _copy_database(database: Database, copy: Path, target: Path) -> None:
    if not database.is_sqlite:
        _run_client(database, target, "pg_dump", "--format=custom", f"--file={copy}")
        return
    path = make_url(database.url).database or ""
    with closing(sqlite3.connect(path)) as here, closing(sqlite3.connect(copy)) as there:
        here.backup(there)


def _load_database(database: Database, copy: Path, source: Path) -> None:
    if not database.is_sqlite:
        options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
        _run_client(database, source, "pg_restore", *options, str(copy))
        return
    with closing(sqlite3.connect(copy)) as there:
        if there.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise BackupRefused(str(source), "its database is damaged")
        path = make_url(database.url).database or ""
        with closing(sqlite3.connect(path)) as here:
            there.backup(here)


def _run_client(database: Database, file: Path, program: str, *options: str) -> None:
    """Run one of PostgreSQL's programs on the database; the password is not on its command line, which others see."""
    url = make_url(database.url)
    plain = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    environment: dict[str, Any] = dict(os.environ)
    if url.password is not None:
        environment["PGPASSWORD"] = url.password
    asked = [program, f"--dbname={plain.render_as_string()}", *options]
    try:
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BackupRefused(str(file), f"{program} is not installed here") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it did not say why"])[0]
        raise BackupRefused(str(file), f"{said.rstrip('.')}")
