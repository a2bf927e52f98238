"""Slice packs made anew from the kept originals: a pack is a derived cache, and the file as taken in is the truth."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.datasets.originals import read_kept
from app.db.models import Project, Volume
from app.db.session import Database
from app.errors import BlobDamaged, BlobNotFound, PackNotRebuilt
from app.formats.image import Image3D
from app.outbox import SilentBell, unit_of_work
from app.services.volumes import volume_pack
from app.storage.blobs import BlobStore, blob_key, verify_blob
from app.storage.planes import PlanePack, encode_plane, store_planes


def list_packs(session: Session, project: Project | None = None) -> list[uuid.UUID]:
    """The volumes whose packs may be rebuilt, of a project or of all, in the order in which they came in."""
    query = select(Volume.id).order_by(Volume.id)
    return list(session.scalars(query if project is None else query.where(Volume.project_id == project.id)))


def is_pack_sound(blobs: BlobStore, volume: Volume) -> bool:
    """Whether a volume's pack is there and has the bytes that it had when it was made."""
    try:
        verify_blob(blobs, volume.pack_key)
    except (BlobNotFound, BlobDamaged):
        return False
    return True


def rebuild_pack(database: Database, blobs: BlobStore, volume_id: uuid.UUID) -> PlanePack:
    """Read the kept original of a volume and write its pack anew; until the new one is whole the old one stays.

    The bytes are those that were there before, so nothing that points at them changes; where the compressor has become
    another one, the volume's row is given the new pack. Raises `PackNotRebuilt` where the original is missing, damaged
    or does not give back the volume. Memory: one volume.
    """
    with database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        before = volume_pack(volume)
        with TemporaryDirectory(prefix="nextslice-") as scratch:
            image = _original_image(blobs, volume, Path(scratch))
    after = store_planes(blobs, image.array)
    if after != before:
        with unit_of_work(database, SilentBell()) as session:
            volume = session.get_one(Volume, volume_id)
            volume.pack_key, volume.pack_offsets = after.key, list(after.offsets)
    return after


def _original_image(blobs: BlobStore, volume: Volume, scratch: Path) -> Image3D:
    kept = scratch / "kept"
    try:
        verify_blob(blobs, volume.original_key)
        with kept.open("wb") as file:
            file.writelines(blobs.stream(volume.original_key))
    except (BlobNotFound, BlobDamaged) as error:
        raise PackNotRebuilt(volume.patient.code, volume.name, f"of its original: {error}") from None
    alike = [image for image in read_kept(kept, volume.original_name, volume.axis, scratch) if _is_like(volume, image)]
    if len(alike) > 1:  # several b-values of one size in one file: only the bytes tell which was taken
        alike = [image for image in alike if _pack_key(image) == volume.pack_key]
    if not alike:
        reason = f"its original, {volume.original_name}, is not read as it was when it came in"
        raise PackNotRebuilt(volume.patient.code, volume.name, reason)
    return alike[0]


def _is_like(volume: Volume, image: Image3D) -> bool:
    expected = (volume.depth, *volume_pack(volume).plane_shape)
    found = (image.array.shape, image.array.dtype.name, image.slope, image.intercept)
    return found == (expected, volume.dtype, volume.slope, volume.intercept)


def _pack_key(image: Image3D) -> str:
    digest = hashlib.sha256()
    for plane in image.array:
        digest.update(encode_plane(plane))
    return blob_key(digest.hexdigest())
