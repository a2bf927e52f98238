"""The blob store that the settings name, and the local one: plain files, each written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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
    """Blobs as files under `root`: `root/sha256/ab/ab...`, with unfinished ones under `root/unfinished`.

    `BlobNotFound` is for one file that is not there while the folder is; a folder that is gone (a mount that was lost),
    full or not to be written is `StoreUnreachable`.
    """

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
            with self._at_hand():
                file = temporary.open("xb")
            with file:
                for chunk in chunks:  # what fails there is the source's
                    digest.update(chunk)
                    size += len(chunk)
                    with self._at_hand():
                        file.write(chunk)
                with self._at_hand():
                    file.flush()
                    os.fsync(file.fileno())
            key = blob_key(digest.hexdigest())
            # Renamed even over a blob that is there: this heals a damaged one and makes its date new, so that a
            # collector does not take away what a row is about to point at.
            with self._at_hand():
                self._publish(temporary, self._path(key))
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        return StoredBlob(key, size, time.time())

    def get(self, key: str) -> bytes:
        """The whole content."""
        with self._at_hand(key):
            return self._path(key).read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`, read with one positioned read."""
        if start < 0 or length < 0:
            raise BlobRangeOutside(key, start, length)
        with self._at_hand(key):
            descriptor = os.open(self._path(key), os.O_RDONLY)
            try:
                content = os.pread(descriptor, length, start)
            finally:
                os.close(descriptor)
        if len(content) != length:
            raise BlobRangeOutside(key, start, length)
        return content

    def stream(self, key: str) -> Iterator[bytes]:
        """The content in chunks; the key is checked at once, not at the first chunk."""
        with self._at_hand(key):
            file = self._path(key).open("rb")

        def chunks() -> Iterator[bytes]:
            with file:
                while True:
                    with self._at_hand():  # a mount may be lost between two chunks
                        chunk = file.read(CHUNK_BYTES)
                    if not chunk:
                        return
                    yield chunk

        return chunks()

    def find(self, key: str) -> StoredBlob | None:
        """The blob as it is kept now; None where it is not there."""
        try:
            with self._at_hand(key):
                status = self._path(key).stat()
        except BlobNotFound:
            return None
        return StoredBlob(key, status.st_size, status.st_mtime)

    def exists(self, key: str) -> bool:
        """Whether the blob is there."""
        return self.find(key) is not None

    def delete(self, key: str) -> None:
        """Remove the blob, if it is there."""
        with suppress(BlobNotFound), self._at_hand(key):
            self._path(key).unlink()

    def iterate(self) -> Iterator[StoredBlob]:
        """All blobs; a file whose name is no key, or that vanishes meanwhile, is passed over."""
        with self._at_hand():
            self._unfinished.stat()  # in a folder that is gone, the search below would only find nothing
        paths = self.root.glob("sha256/??/*")
        while True:
            with self._at_hand():
                path = next(paths, None)
            if path is None:
                return
            with suppress(BadBlobKey):
                found = self.find(path.relative_to(self.root).as_posix())
                if found is not None:
                    yield found

    def sweep_unfinished(self, older_than_s: float) -> int:
        """Remove what killed writers left behind and give back how many files that were."""
        limit, removed = time.time() - older_than_s, 0
        with self._at_hand():
            for path in self._unfinished.iterdir():
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime <= limit:
                        path.unlink()
                        removed += 1
        return removed

    def check(self) -> None:
        """Raise `StoreUnreachable` unless blobs can be written."""
        made = self.root / "sha256"  # by the first put
        for folder in (self._unfinished, made) if made.exists() else (self._unfinished,):
            if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
                raise StoreUnreachable(str(self.root), f"its folder {folder.name} is gone or cannot be written")

    @contextmanager
    def _at_hand(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if key and isinstance(error, FileNotFoundError) and self._unfinished.is_dir():
                raise BlobNotFound(key) from None
            raise StoreUnreachable(str(self.root), error.strerror or str(error)) from error

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
