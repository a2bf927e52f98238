"""The blob store that the settings name, and the local one: plain files, each written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from app.errors import BadBlobKey, BlobNotFound, BlobRangeOutside, StoreUnreachable
from app.settings import Settings
from app.storage.blobs import CHUNK_BYTES, BlobStore, StoredBlob, blob_digest, blob_key


def open_store(knobs: Settings) -> BlobStore:
    """The store that the settings name: `NEXTSLICE_BLOB_URL`, or a folder in the service's home."""
    if knobs.blob_url:
        from app.storage.s3 import S3Store

        return S3Store(knobs.blob_url)
    return LocalStore(knobs.blob_folder)


class LocalStore:
    """Blobs as files under `root`: `root/sha256/ab/ab...`, with unfinished ones under `root/unfinished`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unfinished = root / "unfinished"
        self._unfinished.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Store the bytes and give back their key."""
        return self.put_stream([content]).key

    def put_stream(self, chunks: Iterable[bytes]) -> StoredBlob:
        """Store the joined chunks: temporary file, fsync, rename, fsync of the folder, in this order."""
        temporary = self._unfinished / uuid4().hex
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("xb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            key = blob_key(digest.hexdigest())
            # Renamed even over a blob that is there: this heals a damaged one and makes its date new, so that a
            # collector does not take away what a row is about to point at.
            self._publish(temporary, self._path(key))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return StoredBlob(key, size, time.time())

    def get(self, key: str) -> bytes:
        """The whole content."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise BlobNotFound(key) from None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`, read with one positioned read."""
        if start < 0 or length < 0:
            raise BlobRangeOutside(key, start, length)
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY)
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        try:
            content = os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)
        if len(content) != length:
            raise BlobRangeOutside(key, start, length)
        return content

    def stream(self, key: str) -> Iterator[bytes]:
        """The content in chunks; the key is checked at once, not at the first chunk."""
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError:
            raise BlobNotFound(key) from None

        def chunks() -> Iterator[bytes]:
            with file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk

        return chunks()

    def exists(self, key: str) -> bool:
        """Whether the blob is there."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the blob, if it is there."""
        self._path(key).unlink(missing_ok=True)

    def iterate(self) -> Iterator[StoredBlob]:
        """All blobs; a file whose name is no key, or that vanishes meanwhile, is passed over."""
        for path in self.root.glob("sha256/??/*"):
            key = path.relative_to(self.root).as_posix()
            try:
                blob_digest(key)
                status = path.stat()
            except (BadBlobKey, FileNotFoundError):
                continue
            yield StoredBlob(key, status.st_size, status.st_mtime)

    def sweep_unfinished(self, older_than_s: float) -> int:
        """Remove what killed writers left behind and give back how many files that were."""
        limit, removed = time.time() - older_than_s, 0
        for path in self._unfinished.iterdir():
            try:
                if path.stat().st_mtime <= limit:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def check(self) -> None:
        """Raise `StoreUnreachable` unless blobs can be written."""
        if not os.access(self._unfinished, os.W_OK | os.X_OK):
            raise StoreUnreachable(str(self.root), "the folder is gone or cannot be written")

    def _path(self, key: str) -> Path:
        blob_digest(key)
        return self.root / key

    def _publish(self, temporary: Path, final: Path) -> None:
        for folder in (final.parent.parent, final.parent):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                _sync_folder(folder.parent)
        temporary.replace(final)
        _sync_folder(final.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
