"""Rows and blobs to tensors: the pool of train slices, and the annotated ones. It never sees ground truth."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Volume
from app.db.session import Database
from app.services.annotations import read_mask_body
from app.services.rounds import AnnotatedSlice, PoolSlice
from app.services.volumes import volume_pack
from app.storage.blobs import BlobStore
from app.storage.masks import decode_mask
from app.storage.planes import read_volume
from worker.learning.intensity import normalise_volume
from worker.learning.resize import resize_mask, resize_planes
from worker.learning.shapes import LabelledSlices, SlicePool

Report = Callable[[int, int, str], None]


def load_volumes(session: Session, volume_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Volume]:
    """The rows of these volumes, usable after the session."""
    wanted = set(volume_ids)
    rows = session.scalars(select(Volume).where(Volume.id.in_(wanted)))
    return {volume.id: volume for volume in rows}


def read_planes(blobs: BlobStore, volume: Volume, size: int, how: str) -> npt.NDArray[np.float32]:
    """All slices of a volume as (Z, C, S, S) float32 in [0, 1], normalised by itself, resized by `how`."""
    unit = normalise_volume(read_volume(blobs, volume_pack(volume)))
    planes = unit[:, None] if unit.ndim == 3 else np.moveaxis(unit, -1, 1)
    return resize_planes(planes, size, how)


def load_slice_pool(
    blobs: BlobStore, pool: Sequence[PoolSlice], volumes: dict[uuid.UUID, Volume], size: int, how: str, report: Report
) -> SlicePool:
    """The train slices as the encoder sees them, in the order of `pool`; uint8, so that a large pool fits a device."""
    images = torch.cat(
        [
            torch.from_numpy(np.rint(planes * 255).astype(np.uint8))
            for planes in _pool_planes(blobs, pool, volumes, size, how, report)
        ]
    )
    return SlicePool(
        images=images,
        patient_ids=torch.from_numpy(_codes([each.patient_id for each in pool])),
        volume_ids=torch.from_numpy(_codes([each.volume_id for each in pool])),
        z=torch.tensor([each.index for each in pool], dtype=torch.int64),
    )


def load_pool_pixels(
    blobs: BlobStore, pool: Sequence[PoolSlice], volumes: dict[uuid.UUID, Volume], size: int, how: str
) -> npt.NDArray[np.float32]:
    """The train slices as (N, C, S, S) float32 in [0, 1], in the order of `pool`."""
    return np.concatenate(list(_pool_planes(blobs, pool, volumes, size, how, lambda _done, _total, _message: None)))


def group_codes(pool: Sequence[PoolSlice]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(patient codes, volume codes) of the pool, contiguous from 0 in order of appearance."""
    return _codes([each.patient_id for each in pool]), _codes([each.volume_id for each in pool])


def load_labelled_slices(
    database: Database,
    blobs: BlobStore,
    annotated: Sequence[AnnotatedSlice],
    volumes: dict[uuid.UUID, Volume],
    size: int,
    how: str,
) -> LabelledSlices:
    """The annotated slices with their current masks, resized to `size`; 255 stays unlabelled."""
    images, labels = [], []
    planes: npt.NDArray[np.float32] | None = None
    planes_of: uuid.UUID | None = None
    for each in annotated:  # ordered by volume, so each is read once
        volume = volumes[each.volume_id]
        if planes is None or planes_of != each.volume_id:
            planes, planes_of = read_planes(blobs, volume, size, how), each.volume_id
        with database.reading() as session:
            body = read_mask_body(session, blobs, each.version_id)
        images.append(planes[each.index])
        labels.append(resize_mask(decode_mask(body, (volume.height, volume.width)), size, how))
    return LabelledSlices(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)))


def _pool_planes(
    blobs: BlobStore, pool: Sequence[PoolSlice], volumes: dict[uuid.UUID, Volume], size: int, how: str, report: Report
) -> list[npt.NDArray[np.float32]]:
    wanted: dict[uuid.UUID, list[int]] = {}
    for each in pool:
        wanted.setdefault(each.volume_id, []).append(each.index)
    stacks = []
    for done, (volume_id, indices) in enumerate(wanted.items()):
        report(done, len(wanted), "reading slices")
        stacks.append(read_planes(blobs, volumes[volume_id], size, how)[indices])
    return stacks


def _codes(ids: Sequence[uuid.UUID]) -> npt.NDArray[np.int64]:
    code_of = {each: code for code, each in enumerate(dict.fromkeys(ids))}
    return np.array([code_of[each] for each in ids], dtype=np.int64)
