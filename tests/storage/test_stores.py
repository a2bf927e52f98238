import errno
import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.errors import BadBlobKey, BlobDamaged, BlobNotFound, BlobRangeOutside, StoreRefused, StoreUnreachable
from app.settings import Settings
from app.storage.blobs import CHUNK_BYTES, BlobStore, blob_digest, blob_key, verify_blob
from app.storage.s3 import S3Store
from app.storage.stores import LocalStore, open_store


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "blobs")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> BlobStore:
    """Both stores keep the same promises."""
    if request.param == "local":
        return request.getfixturevalue("local")
    return S3Store(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_put_comes_back_under_the_digest_of_its_content(store: BlobStore) -> None:
    key = store.put(b"a heart")
    digest = hashlib.sha256(b"a heart").hexdigest()
    assert key == f"sha256/{digest[:2]}/{digest}" == blob_key(digest)
    assert blob_digest(key) == digest
    assert store.get(key) == b"a heart"
    assert store.exists(key)


def test_a_stream_and_its_joined_bytes_are_one_blob(store: BlobStore) -> None:
    chunks = [b"x" * CHUNK_BYTES, b"", b"y" * 17]
    stored = store.put_stream(chunks)
    assert stored.size_bytes == CHUNK_BYTES + 17
    assert store.put(b"".join(chunks)) == stored.key
    assert [found.key for found in store.iterate()] == [stored.key]
    lengths = [len(chunk) for chunk in store.stream(stored.key)]
    assert sum(lengths) == CHUNK_BYTES + 17
    assert max(lengths) <= CHUNK_BYTES


def test_the_empty_blob_is_a_blob(store: BlobStore) -> None:
    key = store.put(b"")
    assert store.get(key) == b""
    assert store.get_range(key, 0, 0) == b""


def test_a_range_is_exact_or_refused(store: BlobStore) -> None:
    key = store.put(b"0123456789")
    assert store.get_range(key, 3, 4) == b"3456"
    for start, length in ((8, 3), (-1, 2), (0, -1), (10, 1), (11, 1)):
        with pytest.raises(BlobRangeOutside) as refused:
            store.get_range(key, start, length)
        assert (refused.value.start, refused.value.length) == (start, length)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "sha256/ab/abc",
        "../../etc/passwd",
        "sha256/../sha256/ab",
        f"sha256/ab/{'cd' * 32}",
        f"sha256/AB/{'AB' * 32}",
        f"sha256/ab/{'ab' * 32}\n",
        f"/sha256/ab/{'ab' * 32}",
    ],
)
def test_a_key_outside_the_grammar_reaches_no_file(store: LocalStore, key: str) -> None:
    for ask in (store.get, store.find, store.exists, store.delete, store.stream, lambda k: store.get_range(k, 0, 1)):
        with pytest.raises(BadBlobKey):
            ask(key)


def test_a_digest_that_is_none_makes_no_key() -> None:
    with pytest.raises(BadBlobKey):
        blob_key("../x")


def test_a_blob_that_is_not_there_is_named(store: BlobStore) -> None:
    key = blob_key("ab" * 32)
    assert not store.exists(key)
    for ask in (store.get, store.stream, lambda k: store.get_range(k, 0, 1)):
        with pytest.raises(BlobNotFound, match=key):
            ask(key)


def test_one_blob_is_found_as_the_list_has_it(store: BlobStore) -> None:
    key = store.put(b"0123456789")
    assert [store.find(key)] == list(store.iterate())
    assert store.find(blob_key("ab" * 32)) is None


def test_deleting_twice_is_no_error(store: BlobStore) -> None:
    key = store.put(b"gone soon")
    store.delete(key)
    store.delete(key)
    assert not store.exists(key)


def test_iterating_gives_every_blob(store: BlobStore) -> None:
    keys = {store.put(bytes([value]) * value) for value in range(5)}
    assert {blob.key: blob.size_bytes for blob in store.iterate()} == {key: len(store.get(key)) for key in keys}


def test_what_is_no_blob_is_passed_over(local: LocalStore) -> None:
    keys = {local.put(bytes([value]) * value) for value in range(5)}
    (local.root / "sha256" / "ab").mkdir(exist_ok=True)
    (local.root / "sha256" / "ab" / "notes.txt").write_text("not a blob")
    assert {blob.key: blob.size_bytes for blob in local.iterate()} == {key: len(local.get(key)) for key in keys}


def test_a_source_that_breaks_leaves_nothing_behind(store: BlobStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"first"
        raise ConnectionError("the upload broke")

    with pytest.raises(ConnectionError):
        store.put_stream(broken())
    assert list(store.iterate()) == []
    if isinstance(store, LocalStore):
        assert _files(store.root) == []


def test_putting_again_heals_a_damaged_blob_and_renews_its_date(local: LocalStore) -> None:
    key = local.put(b"sound")
    path = local.root / key
    path.write_bytes(b"s0und")
    os.utime(path, (1000, 1000))
    with pytest.raises(BlobDamaged):
        verify_blob(local, key)
    local.put(b"sound")
    verify_blob(local, key)
    assert next(local.iterate()).modified_at > 1000


def test_a_writer_killed_midway_leaves_no_blob_and_its_litter_is_swept(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from app.storage.stores import LocalStore\n"
        "def chunks():\n"
        "    yield b'x' * 3_000_000\n"
        "    print('half', flush=True)\n"
        "    time.sleep(60)\n"
        "LocalStore(Path(sys.argv[1])).put_stream(chunks())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
    store = LocalStore(tmp_path)
    assert list(store.iterate()) == []
    assert len(_files(tmp_path)) == 1
    assert store.sweep_unfinished(older_than_s=3600) == 0
    assert store.sweep_unfinished(older_than_s=0) == 1
    assert _files(tmp_path) == []


def test_file_and_folder_are_synced_before_and_after_the_rename(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def recording_sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("sync folder" if is_folder else "sync file")
        sync(descriptor)

    def recording_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recording_sync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    key = local.put(b"durable")
    # The two folders of a first key are made durable in their parents as well.
    assert events == ["sync file", "sync folder", "sync folder", "rename", "sync folder"]
    assert local.get(key) == b"durable"


def test_a_large_stream_waits_on_disk_and_arrives_whole(s3_bucket: str) -> None:
    store = S3Store(f"s3://{s3_bucket}")
    stored = store.put_stream(bytes([number]) * CHUNK_BYTES for number in range(20))
    assert stored.size_bytes == 20 * CHUNK_BYTES
    assert store.get_range(stored.key, 17 * CHUNK_BYTES - 1, 2) == bytes([16, 17])
    verify_blob(store, stored.key)


def test_a_store_that_is_not_there_is_named_in_one_sentence(s3_bucket: str) -> None:
    store = S3Store("s3://nobody-made-this-one")
    for ask in (store.check, lambda: store.put(b"x"), lambda: store.get(blob_key("ab" * 32))):
        with pytest.raises(StoreUnreachable, match="no such bucket"):
            ask()
    S3Store(f"s3://{s3_bucket}").check()


@pytest.mark.parametrize("url", ["s3://", "s3:bucket", "https://bucket", "s3://bucket?x=1"])
def test_an_address_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused):
        S3Store(url)


def test_variables_without_a_value_are_as_good_as_unset(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    store = S3Store(f"s3://{s3_bucket}")
    assert store.get(store.put(b"here")) == b"here"


def test_the_settings_say_which_store(tmp_path: Path, s3_bucket: str) -> None:
    assert isinstance(open_store(Settings(home=tmp_path)), LocalStore)
    assert isinstance(open_store(Settings(home=tmp_path, blob_url=f"s3://{s3_bucket}")), S3Store)


def test_a_folder_that_is_gone_fails_the_check_and_is_no_missing_blob(local: LocalStore) -> None:
    key = local.put(b"there")
    local.check()
    shutil.rmtree(local.root)
    asked: list[Callable[[], object]] = [
        local.check,
        lambda: local.put(b"more"),
        lambda: local.get(key),
        lambda: local.get_range(key, 0, 1),
        lambda: local.stream(key),
        lambda: local.exists(key),
        lambda: local.delete(key),
        lambda: local.find(key),
        lambda: list(local.iterate()),
        lambda: local.sweep_unfinished(0),
    ]
    for ask in asked:
        with pytest.raises(StoreUnreachable):
            ask()


def test_a_disk_that_fails_in_the_middle_of_a_stream_is_an_outage(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = local.put(b"there")

    class Failing(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", lambda *_arguments: Failing())
    chunks = local.stream(key)
    with pytest.raises(StoreUnreachable, match="Input/output error"):
        next(chunks)


def test_a_folder_of_blobs_that_is_none_fails_the_check(local: LocalStore) -> None:
    (local.root / "sha256").write_bytes(b"a file")
    for ask in (local.check, lambda: local.put(b"more")):
        with pytest.raises(StoreUnreachable):
            ask()
