"""Rows and blobs to tensors: the pool of train slices, and the annotated ones. It never sees ground truth."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Volume
from app.db.session import Database
from app.services.annotations import read_mask_body
from app.services.pools import AnnotatedSlice, PoolSlice
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


def read_planes(blobs: BlobStore, volume: Volume, size: int, how: str, channels: int) -> npt.NDArray[np.float32]:
    """All slices of a volume as (Z, channels, S, S) float32 in [0, 1], normalised by itself, resized by `how`.

    Beside volumes in colour (3 channels) a grey one is red, green and blue alike, so that they lie in one space; to
    what learned from grey ones (1 channel) a colour is the mean of its three.
    """
    unit = normalise_volume(read_volume(blobs, volume_pack(volume)))
    planes = unit[:, None] if unit.ndim == 3 else np.moveaxis(unit, -1, 1)
    if channels < planes.shape[1]:
        planes = planes.mean(axis=1, keepdims=True)
    resized = resize_planes(planes, size, how)
    return np.repeat(resized, channels // resized.shape[1], axis=1)


def count_channels(volumes: Iterable[Volume]) -> int:
    """How many channels slices of these volumes have side by side: 3 where one is in colour, else 1."""
    return max((volume.channels for volume in volumes), default=1)


def load_slice_pool(
    blobs: BlobStore,
    pool: Sequence[PoolSlice],
    volumes: dict[uuid.UUID, Volume],
    size: int,
    how: str,
    channels: int,
    report: Report,
) -> SlicePool:
    """The train slices as the encoder sees them, in the order of `pool`; uint8, so that a large pool fits a device."""
    images = torch.cat(
        [
            torch.from_numpy(np.rint(planes * 255).astype(np.uint8))
            for planes in _pool_planes(blobs, pool, volumes, size, how, channels, report)
        ]
    )
    return SlicePool(
        images=images,
        patient_ids=torch.from_numpy(_codes([each.patient_id for each in pool])),
        volume_ids=torch.from_numpy(_codes([each.volume_id for each in pool])),
        z=torch.tensor([each.index for each in pool], dtype=torch.int64),
    )


def load_pool_pixels(
    blobs: BlobStore,
    pool: Sequence[PoolSlice],
    volumes: dict[uuid.UUID, Volume],
    size: int,
    how: str,
    report: Report,
) -> npt.NDArray[np.float32]:
    """The train slices as (N, C, S, S) float32 in [0, 1], in the order of `pool`."""
    channels = count_channels(volumes.values())
    return np.concatenate(_pool_planes(blobs, pool, volumes, size, how, channels, report))


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
    channels: int,
    report: Report,
) -> LabelledSlices:
    """The annotated slices with their current masks, resized to `size`; 255 stays unlabelled."""
    images, labels = [], []
    planes: npt.NDArray[np.float32] | None = None
    planes_of: uuid.UUID | None = None
    for done, each in enumerate(annotated):  # ordered by volume, so each is read once
        report(done, len(annotated), "reading slices")
        volume = volumes[each.volume_id]
        if planes is None or planes_of != each.volume_id:
            planes, planes_of = read_planes(blobs, volume, size, how, channels), each.volume_id
        with database.reading() as session:
            body = read_mask_body(session, blobs, each.version_id)
        images.append(planes[each.index])
        labels.append(resize_mask(decode_mask(body, (volume.height, volume.width)), size, how))
    return LabelledSlices(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)))


def _pool_planes(
    blobs: BlobStore,
    pool: Sequence[PoolSlice],
    volumes: dict[uuid.UUID, Volume],
    size: int,
    how: str,
    channels: int,
    report: Report,
) -> list[npt.NDArray[np.float32]]:
    wanted: dict[uuid.UUID, list[int]] = {}
    for each in pool:
        wanted.setdefault(each.volume_id, []).append(each.index)
    stacks = []
    for done, (volume_id, indices) in enumerate(wanted.items()):
        report(done, len(wanted), "reading slices")
        stacks.append(read_planes(blobs, volumes[volume_id], size, how, channels)[indices])
    return stacks


def _codes(ids: Sequence[uuid.UUID]) -> npt.NDArray[np.int64]:
    code_of = {each: code for code, each in enumerate(dict.fromkeys(ids))}
    return np.array([code_of[each] for each in ids], dtype=np.int64)
