"""Ground truth: kept apart from annotations, and read by nothing but the oracle and evaluation (an import contract)."""

from __future__ import annotations

import uuid
import zlib
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import GroundTruth, Patient, Project, Volume
from app.errors import GroundTruthExists, GroundTruthMissing
from app.names import AnnotationKind, Split
from app.storage.blobs import BlobStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def add_ground_truth(
    session: Session, volume: Volume, kind: AnnotationKind, mask_key: str, original_key: str
) -> GroundTruth:
    """Record the mask blob of a volume; a second one of the same kind is a conflict, the same one again is not."""
    present = session.scalar(select(GroundTruth).where(GroundTruth.volume_id == volume.id, GroundTruth.kind == kind))
    if present is not None:
        if present.mask_key == mask_key:
            return present
        raise GroundTruthExists(volume.name, kind)
    truth = GroundTruth(volume_id=volume.id, kind=kind, mask_key=mask_key, original_key=original_key)
    session.add(truth)
    session.flush()
    return truth


def ground_truth_kinds(session: Session, volume_ids: list[uuid.UUID]) -> dict[uuid.UUID, set[AnnotationKind]]:
    """Which kinds of ground truth each volume has."""
    kinds: dict[uuid.UUID, set[AnnotationKind]] = {volume_id: set() for volume_id in volume_ids}
    rows = session.execute(select(GroundTruth.volume_id, GroundTruth.kind).where(GroundTruth.volume_id.in_(volume_ids)))
    for volume_id, kind in rows:
        kinds[volume_id].add(AnnotationKind(kind))
    return kinds


def read_ground_truth(session: Session, blobs: BlobStore, volume: Volume, kind: AnnotationKind) -> NDArray[np.uint8]:
    """The mask (Z, H, W) uint8 with 255 where nothing is known; raises GroundTruthMissing."""
    truth = session.scalar(select(GroundTruth).where(GroundTruth.volume_id == volume.id, GroundTruth.kind == kind))
    if truth is None:
        raise GroundTruthMissing(volume.name, kind)
    return unpack_volume_mask(blobs.get(truth.mask_key), (volume.depth, volume.height, volume.width))


def unpack_volume_mask(packed: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The (Z, H, W) mask in a blob that `encode_mask` made."""
    import numpy as np

    return np.frombuffer(zlib.decompress(packed, 31), dtype=np.uint8).reshape(shape)


def list_judged_volumes(session: Session, project: Project, split: Split) -> list[Volume]:
    """The volumes of a split that have a dense mask to be judged against, by patient code and name."""
    volumes = session.scalars(
        select(Volume)
        .join(Patient)
        .join(GroundTruth, GroundTruth.volume_id == Volume.id)
        .where(Volume.project_id == project.id, Patient.split == split, GroundTruth.kind == AnnotationKind.FULL)
    )
    return sorted(volumes, key=lambda volume: (volume.patient.code, volume.name))
