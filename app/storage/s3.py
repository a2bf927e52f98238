"""Blobs as objects of an S3-compatible store, through obstore; keys are the same as on a disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

from app.errors import BadBlobKey, BlobNotFound, BlobRangeOutside, MissingExtra, StoreRefused, StoreUnreachable
from app.storage.blobs import CHUNK_BYTES, StoredBlob, blob_digest, blob_key

_RETRIES = 3
_RETRY_TIMEOUT_S = 20.0
_REQUEST_TIMEOUT = "60s"
_IN_MEMORY_BYTES = 8 * CHUNK_BYTES  # a stream longer than this waits for its digest in a temporary file


class S3Store:
    """Blobs under `s3://bucket/prefix`; address, region and credentials come from the usual AWS_* variables.

    A put has returned only when the store has acknowledged the whole object, so an object is there whole or not at
    all. `StoreRefused` for a URL that is none; `StoreUnreachable` when the store does not answer, or answers with
    anything but the object.
    """

    def __init__(self, url: str) -> None:
        try:
            from obstore.store import S3Store as Bucket
        except ImportError:
            raise MissingExtra("an S3 store", "scale") from None
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise StoreRefused(url)
        self.url = url
        for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]:
            del os.environ[name]  # compose files pass what is not set as an empty text, which is no address
        with self._answering():
            self._bucket = Bucket(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                # Plain HTTP only where the address that an operator gave says so.
                client_options={"allow_http": True, "timeout": _REQUEST_TIMEOUT},
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_TIMEOUT_S)},
            )

    def put(self, content: bytes) -> str:
        """Store the bytes and give back their key."""
        return self.put_stream([content]).key

    def put_stream(self, chunks: Iterable[bytes]) -> StoredBlob:
        """Store the joined chunks. They wait beside the memory until the digest, which is their name, is known."""
        import obstore

        digest, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as waiting:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                waiting.write(chunk)
            waiting.seek(0)
            key = blob_key(digest.hexdigest())
            with self._answering():
                # Put even over an object that is there: this heals a damaged one and makes its date new, so that a
                # collector does not take away what a row is about to point at.
                obstore.put(self._bucket, key, waiting)
                stored = obstore.head(self._bucket, key)
        return StoredBlob(key, size, stored["last_modified"].timestamp())

    def get(self, key: str) -> bytes:
        """The whole content."""
        return b"".join(self.stream(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`, with one ranged request."""
        import obstore

        blob_digest(key)
        if start < 0 or length < 0:
            raise BlobRangeOutside(key, start, length)
        if length == 0:  # a ranged request cannot ask for nothing
            self._head(key)
            return b""
        try:
            with self._answering(key):
                content = bytes(obstore.get_range(self._bucket, key, start=start, length=length))
        except StoreUnreachable:
            if start >= self._head(key).size_bytes:
                raise BlobRangeOutside(key, start, length) from None
            raise
        if len(content) != length:
            raise BlobRangeOutside(key, start, length)
        return content

    def stream(self, key: str) -> Iterator[bytes]:
        """The content in chunks; the key is checked at once, not at the first chunk."""
        import obstore

        blob_digest(key)
        with self._answering(key):
            answer = obstore.get(self._bucket, key)

        def chunks() -> Iterator[bytes]:
            with self._answering(key):
                for part in answer.stream(min_chunk_size=CHUNK_BYTES):
                    view = memoryview(part)
                    for begin in range(0, len(view), CHUNK_BYTES):
                        yield bytes(view[begin : begin + CHUNK_BYTES])

        return chunks()

    def find(self, key: str) -> StoredBlob | None:
        """The blob as it is kept now; None where it is not there."""
        try:
            return self._head(key)
        except BlobNotFound:
            return None

    def exists(self, key: str) -> bool:
        """Whether the blob is there."""
        return self.find(key) is not None

    def delete(self, key: str) -> None:
        """Remove the blob, if it is there."""
        import obstore

        blob_digest(key)
        with self._answering():
            obstore.delete(self._bucket, key)

    def iterate(self) -> Iterator[StoredBlob]:
        """All blobs; an object whose name is no key is passed over."""
        import obstore

        with self._answering():
            for page in obstore.list(self._bucket, prefix="sha256"):
                for found in page:
                    try:
                        blob_digest(found["path"])
                    except BadBlobKey:
                        continue
                    yield StoredBlob(found["path"], found["size"], found["last_modified"].timestamp())

    def sweep_unfinished(self, older_than_s: float) -> int:  # noqa: ARG002 - the store's own rules end uploads
        """Nothing to sweep: an upload that was broken off leaves no object."""
        return 0

    def check(self) -> None:
        """Raise `StoreUnreachable` unless the bucket answers."""
        import obstore

        with self._answering():
            next(iter(obstore.list(self._bucket, prefix="sha256", chunk_size=1)), None)

    def _head(self, key: str) -> StoredBlob:
        import obstore

        blob_digest(key)
        with self._answering(key):
            found = obstore.head(self._bucket, key)
        return StoredBlob(key, found["size"], found["last_modified"].timestamp())

    @contextmanager
    def _answering(self, key: str = "") -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if "NoSuchBucket" in str(error):
                raise StoreUnreachable(self.url, "there is no such bucket") from None
            if key and isinstance(error, FileNotFoundError):
                raise BlobNotFound(key) from None
            raise StoreUnreachable(self.url, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].split(": <?xml", 1)[0] or type(error).__name__
