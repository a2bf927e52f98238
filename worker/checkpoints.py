"""Weights and features to blobs and back; safetensors and plain arrays only, never pickle."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load, save
from torch import Tensor

from app.errors import BlobDamaged, BlobNotFound
from app.storage.blobs import BlobStore, verify_blob
from worker.learning.query.pool import Cover
from worker.learning.resume import TrainingState

_FACTS = "facts"  # JSON among the tensors, for safetensors' own notes are lost on loading


def save_weights(blobs: BlobStore, state: Mapping[str, Tensor]) -> str:
    """Store a state dictionary and give back its key."""
    return blobs.put(save({name: tensor.contiguous().cpu() for name, tensor in state.items()}))


def load_weights(blobs: BlobStore, key: str) -> dict[str, Tensor]:
    """The state dictionary under a key, on the CPU."""
    weights: dict[str, Tensor] = load(blobs.get(key))
    return weights


def save_training(blobs: BlobStore, state: TrainingState) -> str:
    """Store the state of a training and give back its key."""
    facts = torch.frombuffer(bytearray(json.dumps(state.facts).encode()), dtype=torch.uint8)
    return blobs.put(save({**state.tensors, _FACTS: facts}))


def load_training(blobs: BlobStore, key: str) -> TrainingState:
    """The state of a training under a key."""
    tensors: dict[str, Tensor] = load(blobs.get(key))
    facts = json.loads(tensors.pop(_FACTS).numpy().tobytes())
    return TrainingState(tensors, facts)


def save_features(blobs: BlobStore, slice_ids: Sequence[uuid.UUID], features: npt.NDArray[np.float32]) -> str:
    """Store the (N, D) features of N slices and give back their key."""
    out = io.BytesIO()
    np.savez(out, slice_ids=np.array([each.hex for each in slice_ids]), features=features)
    return blobs.put(out.getvalue())


def load_features(blobs: BlobStore, key: str, slice_ids: Sequence[uuid.UUID]) -> npt.NDArray[np.float32] | None:
    """The features of exactly these slices in this order; None when some of them, or all, are not kept."""
    content = _read_if_kept(blobs, key)
    if content is None:
        return None
    with np.load(content, allow_pickle=False) as stored:
        row_of = {each: row for row, each in enumerate(stored["slice_ids"].tolist())}
        features: npt.NDArray[np.float32] = stored["features"]
    if any(each.hex not in row_of for each in slice_ids):
        return None
    return features[[row_of[each.hex] for each in slice_ids]]


def save_cover(blobs: BlobStore, cover: Cover) -> str:
    """Store how far N slices are from their nearest centres and give back the key."""
    out = io.BytesIO()
    np.savez(out, fingerprint=cover.fingerprint, squared=cover.squared, nearest=cover.nearest, centres=cover.centres)
    return blobs.put(out.getvalue())


def load_cover(blobs: BlobStore, key: str) -> Cover | None:
    """The cover under a key; None when it is not kept."""
    content = _read_if_kept(blobs, key)
    if content is None:
        return None
    with np.load(content, allow_pickle=False) as stored:
        return Cover(str(stored["fingerprint"]), stored["squared"], stored["nearest"], stored["centres"])


def _read_if_kept(blobs: BlobStore, key: str) -> io.BytesIO | None:
    """What can be made anew, so that a lost or damaged blob costs time and no more."""
    try:
        verify_blob(blobs, key)
        return io.BytesIO(blobs.get(key))
    except (BlobNotFound, BlobDamaged):
        return None
