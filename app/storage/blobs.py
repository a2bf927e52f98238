"""What a blob store promises, and the one map from rows to keys.

A key is made from the content: `sha256/ab/ab...`. Whatever row points at a blob keeps this key; nothing else names a
file, so the same content is stored once and a damaged blob shows by its own name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from app.errors import BadBlobKey, BlobDamaged, StoreUnreachable

ORPHAN_GRACE_S = 24 * 3600.0
"""A blob younger than this may belong to a row that is about to be committed."""

CHUNK_BYTES = 1024 * 1024

_KEY = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")


@dataclass(frozen=True)
class StoredBlob:
    """A blob that a store holds; `modified_at` is the last time that it was put, in seconds since the epoch."""

    key: str
    size_bytes: int
    modified_at: float


class BlobStore(Protocol):
    """A place for immutable bytes, the same on a disk and on S3. A put that returned survives a power cut.

    Every method raises `BadBlobKey` for a key outside the grammar; those that read raise `BlobNotFound`, and all of
    them `StoreUnreachable` when the store itself fails.
    """

    def put(self, content: bytes) -> str:
        """Store the bytes and give back their key; content that is there already is kept once."""
        ...

    def put_stream(self, chunks: Iterable[bytes]) -> StoredBlob:
        """Store the joined chunks, holding one of them at a time; nothing is stored when the iterable raises."""
        ...

    def get(self, key: str) -> bytes:
        """The whole content."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`; `BlobRangeOutside` when the blob ends before."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """The content in chunks of at most `CHUNK_BYTES`."""
        ...

    def find(self, key: str) -> StoredBlob | None:
        """The blob as it is kept now; None where it is not there."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the blob is there."""
        ...

    def delete(self, key: str) -> None:
        """Remove the blob; one that is not there is no error, so that two collectors may run at once."""
        ...

    def iterate(self) -> Iterator[StoredBlob]:
        """All blobs, in no promised order."""
        ...

    def sweep_unfinished(self, older_than_s: float) -> int:
        """Remove what killed writers left behind and give back how many pieces that were."""
        ...

    def check(self) -> None:
        """Raise `StoreUnreachable` unless the store can be used now."""
        ...


def blob_key(digest: str) -> str:
    """The key of the content with this SHA-256 (64 lower-case hex digits); raises `BadBlobKey` for anything else."""
    key = f"sha256/{digest[:2]}/{digest}"
    blob_digest(key)
    return key


def blob_digest(key: str) -> str:
    """The SHA-256 in a key; raises `BadBlobKey` when the key is outside the grammar."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise BadBlobKey(key)
    return match[2]


def verify_blob(store: BlobStore, key: str) -> None:
    """Read the whole blob and raise `BlobDamaged` unless its content still has the digest in its key."""
    digest = hashlib.sha256()
    try:
        for chunk in store.stream(key):
            digest.update(chunk)
    except StoreUnreachable as error:
        store.check()  # where the store itself is away, that is what is wrong
        raise BlobDamaged(key, f"it cannot be read ({error.reason})") from None
    if digest.hexdigest() != blob_digest(key):
        raise BlobDamaged(key, "its content has another digest")
