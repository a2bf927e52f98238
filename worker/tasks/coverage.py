"""Lay the train slices out in a plane, alike beside alike: t-SNE of the encoder's features."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sqlalchemy.orm import Session

from app.db.models import Project
from app.errors import NothingLeft
from app.services import pools, rounds
from app.services.coverage import MAPPED_AT_MOST, store_places
from worker.dataset import load_volumes
from worker.device import choose_device
from worker.learning.seeding import numpy_generator
from worker.pool import PoolSource, read_encoder_features
from worker.runner import Record, Work

_COMPONENTS = 50
_PERPLEXITY = 30.0  # van der Maaten and Hinton, JMLR 2008, section 2: typical values are between 5 and 50
_SMALLEST = 5  # fewer slices have no neighbourhoods to keep


def run(work: Work) -> Record:
    """Read features (the encoder's; without one, small pictures), sample, lay out, store."""
    with work.database.reading() as session:
        project = session.get_one(Project, work.project_id)
        encoder = rounds.find_encoder(session, project)
        slices = pools.list_pool(session, project)
        volumes = load_volumes(session, [each.volume_id for each in slices])
    if not slices:
        raise NothingLeft(f"project {project.slug!r} has no slices of train patients")
    work.progress(0, 2, "reading features")
    source = PoolSource(work.blobs, slices, volumes, choose_device(work.settings), work.progress)
    if encoder is not None:
        features, _ = read_encoder_features(source, encoder)
    else:
        features = source.read_thumbnails()
    chosen = sample_rows(len(slices), MAPPED_AT_MOST, project.seed)
    work.progress(1, 2, f"laying out {len(chosen)} slices")
    places = lay_out(features[chosen], project.seed)
    key = store_places(work.blobs, [slices[row].slice_id for row in chosen], places.tolist())
    result = {
        "key": key,
        "slices": len(chosen),
        "of": len(slices),
        "features": "pixels" if encoder is None else "encoder",
        "method": "t-SNE",
    }

    def record(_session: Session) -> dict[str, Any]:
        return result

    return record


def sample_rows(rows: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """All row numbers, or `most` of them drawn at random, in ascending order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(numpy_generator(seed, "coverage").choice(rows, most, replace=False))


def lay_out(features: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """(N, 2) places in [0, 1] for (N, D) features; the same seed gives the same places."""
    rows, columns = features.shape
    if rows < _SMALLEST:
        places = np.column_stack([np.linspace(0.0, 1.0, rows), np.full(rows, 0.5)])
    else:
        components = min(_COMPONENTS, rows, columns)
        reduced = PCA(components, random_state=seed).fit_transform(features)
        perplexity = min(_PERPLEXITY, (rows - 1) / 3)
        places = TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(reduced)
    low, high = places.min(axis=0), places.max(axis=0)
    scaled: npt.NDArray[np.float64] = (places - low) / np.maximum(high - low, 1e-12)
    return scaled
