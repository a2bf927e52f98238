"""Data sets and blobs that are not what they should be."""

from __future__ import annotations

from collections.abc import Iterable

from app.errors.tree import Conflict, InvalidInput, NotFound, Unavailable

# --- data sets --------------------------------------------------------------------------------------------------------


class DatasetRefused(InvalidInput):
    """A data set that cannot be listed."""

    code = "dataset-refused"


class UnknownDataset(DatasetRefused):
    """No importer has this name."""

    code = "unknown-dataset"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"There is no importer called {name!r}; known are {', '.join(self.known)}.")


class DatasetUnreadable(DatasetRefused):
    """The folder is not laid out as the importer expects."""

    code = "dataset-unreadable"

    def __init__(self, name: str, path: str, reason: str) -> None:
        self.name, self.path, self.reason = name, path, reason
        super().__init__(f"{path} is not a {name} data set: {reason}.")


class ArchiveRefused(DatasetRefused):
    """A zip archive that is damaged, or would unpack to more than any scans."""

    code = "archive-refused"

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name} cannot be unpacked: {reason}.")


class UploadRefused(DatasetRefused):
    """A part of an upload, or the whole of it, is not what was announced."""

    code = "upload-refused"

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"The upload of {name!r} cannot be taken: {reason}.")


class UploadIncomplete(Conflict):
    """An upload was to be used, of which parts are still missing."""

    code = "upload-incomplete"

    def __init__(self, name: str, missing: Iterable[int]) -> None:
        self.name, self.missing = name, tuple(missing)
        shown = ", ".join(str(number) for number in self.missing[:12])
        more = f" and {len(self.missing) - 12} more" if len(self.missing) > 12 else ""
        parts = f": of its parts {shown}{more} are missing" if self.missing else ""
        super().__init__(f"The upload of {name!r} is not complete{parts}.")


class ServerFolderRefused(DatasetRefused):
    """A path on the server that may not be imported."""

    code = "server-folder-refused"

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"The path {path!r} cannot be imported: {reason}.")


class VolumesRefused(DatasetRefused):
    """An experiment on other data than the plan's would be comparable with nothing."""

    code = "volumes-refused"

    def __init__(self, dataset: str, count: int, first: str, reason: str) -> None:
        self.dataset, self.count, self.first, self.reason = dataset, count, first, reason
        super().__init__(f"{count} volumes of {dataset} were refused; the first is {first}: {reason}")


# --- blobs ------------------------------------------------------------------------------------------------------------


class BadBlobKey(InvalidInput):
    """A key outside the store's grammar."""

    code = "bad-blob-key"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key[:100]!r} is not a blob key.")


class BlobRangeOutside(InvalidInput):
    """A range that leaves its blob."""

    code = "blob-range-outside"

    def __init__(self, key: str, start: int, length: int) -> None:
        self.key, self.start, self.length = key, start, length
        super().__init__(f"Bytes {start} to {start + length} are not all within {key}.")


class PlaneOutside(NotFound):
    """A slice number that the volume does not have."""

    code = "plane-outside"

    def __init__(self, z: int, depth: int) -> None:
        self.z, self.depth = z, depth
        super().__init__(f"There is no slice {z}; the volume has slices 0 to {depth - 1}.")


class BlobNotFound(NotFound):
    """No blob has this key."""

    code = "blob-not-found"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"There is no blob {key}.")


class BlobDamaged(Unavailable):
    """A stored blob no longer has the content that it was stored with."""

    code = "blob-damaged"

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"The blob {key} is damaged: {reason}.")


class StoreRefused(InvalidInput):
    """An address of a blob store that cannot be one."""

    code = "store-refused"

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"{url!r} names no blob store; it is s3://bucket or s3://bucket/prefix.")


class StoreUnreachable(Unavailable):
    """The blob store did not answer, or cannot be written."""

    code = "store-unreachable"

    def __init__(self, store: str, reason: str) -> None:
        self.store, self.reason = store, reason
        super().__init__(f"The blob store {store} cannot be used: {reason}.")


class BackupRefused(Conflict):
    """A back-up that cannot be written, or not restored."""

    code = "backup-refused"

    def __init__(self, file: str, reason: str) -> None:
        self.file, self.reason = file, reason
        super().__init__(f"The back-up {file} is not done: {reason}.")
