"""Uploads in parts: each part is stored when it is acknowledged, so that a broken line costs one part and no more."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.models import Project, Upload, UploadPart
from app.errors import UploadIncomplete, UploadRefused
from app.services.lookup import find_row
from app.storage.blobs import BlobStore, blob_digest, blob_key

MOST_BYTES = 1 << 40
LEAST_PART_BYTES, MOST_PART_BYTES = 1 << 16, 1 << 28
MOST_PARTS = 100_000  # the missing ones are listed in every answer

_SHA256 = re.compile(r"[0-9a-f]{64}")


def begin_upload(
    session: Session,
    blobs: BlobStore,
    project: Project,
    name: str,
    size_bytes: int,
    part_bytes: int,
    sha256: str | None,
) -> Upload:
    """A new upload; complete at once where its content is stored already. Raises `UploadRefused`."""
    plain = PurePath(name.replace("\\", "/")).name
    if plain in ("", "..") or not plain.isprintable() or len(plain) > 200:
        raise UploadRefused(name, "its name must have 1 to 200 printable characters")
    if not 0 < size_bytes <= MOST_BYTES:
        raise UploadRefused(plain, f"it must have 1 to {MOST_BYTES} bytes")
    if not LEAST_PART_BYTES <= part_bytes <= MOST_PART_BYTES:
        raise UploadRefused(plain, f"its parts must have {LEAST_PART_BYTES} to {MOST_PART_BYTES} bytes")
    if -(-size_bytes // part_bytes) > MOST_PARTS:
        raise UploadRefused(plain, f"it must have at most {MOST_PARTS} parts; make them larger")
    if sha256 is not None and _SHA256.fullmatch(sha256.lower()) is None:
        raise UploadRefused(plain, "its SHA-256 must be 64 hexadecimal digits")
    sha256 = None if sha256 is None else sha256.lower()
    upload = Upload(
        project_id=project.id,
        file_name=plain,
        size_bytes=size_bytes,
        part_bytes=part_bytes,
        sha256=sha256,
        blob_key=_known(session, project, blobs, sha256, size_bytes),
    )
    session.add(upload)
    session.flush()
    return upload


def find_upload(session: Session, reference: str) -> Upload:
    """The upload with this id; raises `RecordNotFound`."""
    return find_row(session, Upload, "upload", reference)


def part_count(upload: Upload) -> int:
    """How many parts an upload has."""
    return -(-upload.size_bytes // upload.part_bytes)


def missing_parts(session: Session, upload: Upload) -> list[int]:
    """The numbers, from 0, of the parts that have not come yet."""
    if upload.blob_key is not None:
        return []
    there = set(session.scalars(select(UploadPart.number).where(UploadPart.upload_id == upload.id)))
    return [number for number in range(part_count(upload)) if number not in there]


def check_part(upload: Upload, number: int, content: bytes, sha256: str) -> None:
    """Raise `UploadRefused` unless a part is one of this upload, of its length and with its digest."""
    if not 0 <= number < part_count(upload):
        raise UploadRefused(upload.file_name, f"it has parts 0 to {part_count(upload) - 1}, but no part {number}")
    expected = min(upload.part_bytes, upload.size_bytes - number * upload.part_bytes)
    if len(content) != expected:
        raise UploadRefused(upload.file_name, f"part {number} must have {expected} bytes and has {len(content)}")
    if sha256 and hashlib.sha256(content).hexdigest() != sha256.strip().lower():
        raise UploadRefused(upload.file_name, f"part {number} arrived with another SHA-256 than it was sent with")


def record_part(session: Session, upload: Upload, number: int, key: str) -> None:
    """Note where a part is stored; the same part again takes its place."""
    if upload.blob_key is not None:
        return
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id, UploadPart.number == number))
    session.add(UploadPart(upload_id=upload.id, number=number, blob_key=key))
    session.flush()


def join_parts(session: Session, blobs: BlobStore, upload: Upload) -> str:
    """The key of the whole file, stored and checked, with one chunk in memory.

    Raises `UploadIncomplete` with the missing parts, and `UploadRefused` where the whole is not what was announced.
    """
    if upload.blob_key is not None:
        return upload.blob_key
    missing = missing_parts(session, upload)
    if missing:
        raise UploadIncomplete(upload.file_name, missing)
    parts = select(UploadPart.blob_key).where(UploadPart.upload_id == upload.id).order_by(UploadPart.number)
    keys = list(session.scalars(parts))
    session.rollback()  # joining takes long: no transaction stays open meanwhile
    stored = blobs.put_stream(chunk for key in keys for chunk in blobs.stream(key))
    if stored.size_bytes != upload.size_bytes:
        raise UploadRefused(upload.file_name, f"its parts make {stored.size_bytes} bytes, not {upload.size_bytes}")
    if upload.sha256 is not None and blob_digest(stored.key) != upload.sha256:
        raise UploadRefused(upload.file_name, "its SHA-256 is not the one announced: send its parts again")
    return stored.key


def close_upload(session: Session, upload: Upload, key: str) -> Upload:
    """Note that an upload is complete; its parts are no longer needed."""
    upload.blob_key = key
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id))
    session.flush()
    return upload


def drop_upload(session: Session, upload: Upload) -> None:
    """Forget an upload; what it stored is removed by `nextslice gc` where no volume needs it."""
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id))
    session.delete(upload)


def _known(session: Session, project: Project, blobs: BlobStore, sha256: str | None, size_bytes: int) -> str | None:
    """Content that this project uploaded before: of other projects' files nobody learns here that they are there."""
    if sha256 is None:
        return None
    key = blob_key(sha256)
    before = select(Upload.id).where(
        Upload.project_id == project.id, Upload.blob_key == key, Upload.size_bytes == size_bytes
    )
    # Nothing is put, so no new date keeps the content: the row that names it stays until this upload names it as well.
    held = session.scalar(before.limit(1).with_for_update(read=True))
    return key if held is not None and blobs.exists(key) else None
