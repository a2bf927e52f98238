"""Let the round's strategy choose its slices."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from app.db.models import Model, Project, Round, Volume
from app.names import STRATEGIES as DESCRIPTORS
from app.names import Need
from app.protocols import load_protocol
from app.services import rounds
from app.services.rounds import PoolSlice, ProposedPick
from worker.checkpoints import load_features, load_weights, save_features
from worker.dataset import group_codes, load_pool_pixels, load_slice_pool, load_volumes
from worker.device import choose_device
from worker.learning.configs import EncoderConfig
from worker.learning.embed import build_encoder, embed_slices
from worker.learning.query.pool import Picks, QueryPool
from worker.learning.query.strategies import STRATEGIES
from worker.learning.seeding import numpy_generator
from worker.runner import Record, Work


def run(work: Work) -> Record:
    """Choose from what is neither annotated nor proposed yet; the recorder opens the slices for annotation."""
    with work.database.reading() as session:
        round_ = session.get_one(Round, work.round_id)
        project = session.get_one(Project, work.project_id)
        encoder = None if round_.encoder_id is None else session.get_one(Model, round_.encoder_id)
        pool = rounds.list_pool(session, project)
        volumes = load_volumes(session, [each.volume_id for each in pool])
    work.progress(0, 2, "reading the pool")
    taken = np.array([each.annotated or each.proposed for each in pool])
    query, features_key = _query_pool(work, project, encoder, pool, volumes, taken)
    work.progress(1, 2, "choosing slices")
    budget = round_.target - int(taken.sum())
    picks = STRATEGIES[round_.strategy](query, budget, {}, numpy_generator(round_.seed, "select", round_.number))
    proposed = _explain(picks, pool, volumes, round_.strategy)

    def record(session: Session) -> dict[str, Any]:
        if encoder is not None and features_key is not None:
            session.get_one(Model, encoder.id).features_key = features_key
        rounds.record_picks(session, session.get_one(Round, round_.id), proposed, picks.cover_radius)
        return {"picks": len(proposed), "cover_radius": picks.cover_radius}

    return record


def _query_pool(
    work: Work,
    project: Project,
    encoder: Model | None,
    pool: Sequence[PoolSlice],
    volumes: dict[uuid.UUID, Volume],
    taken: npt.NDArray[np.bool_],
) -> tuple[QueryPool, str | None]:
    """The pool with readers for exactly what the strategy needs; and the key of features that had to be made anew."""
    needs = DESCRIPTORS[project.strategy].needs
    features: npt.NDArray[np.float32] | None = None
    made_key: str | None = None
    if Need.ENCODER in needs and encoder is not None:
        features = load_features(work.blobs, encoder.features_key or "", [each.slice_id for each in pool])
        if features is None:  # volumes came in since the encoder was trained
            features = _embed(work, encoder, pool, volumes)
            made_key = save_features(work.blobs, [each.slice_id for each in pool], features)
    patients, volume_codes = group_codes(pool)
    size = load_protocol(project.protocol).encoder.image_size
    query = QueryPool(
        patient_ids=patients,
        volume_ids=volume_codes,
        z=np.array([each.index for each in pool], dtype=np.int64),
        annotated=taken,  # what is proposed will be annotated before this round's slices are learned from
        available=~taken,
        feature_reader=None if features is None else lambda: features,
        pixel_reader=(lambda: load_pool_pixels(work.blobs, pool, volumes, size)) if Need.PIXELS in needs else None,
    )
    return query, made_key


def _embed(
    work: Work, encoder: Model, pool: Sequence[PoolSlice], volumes: dict[uuid.UUID, Volume]
) -> npt.NDArray[np.float32]:
    config = EncoderConfig(**encoder.config)
    network = build_encoder(load_weights(work.blobs, encoder.weights_key), config, int(encoder.manifest["channels"]))
    slices = load_slice_pool(work.blobs, pool, volumes, config.image_size, work.progress)
    return embed_slices(network, slices.images, config, choose_device(work.settings))


def _explain(
    picks: Picks, pool: Sequence[PoolSlice], volumes: dict[uuid.UUID, Volume], strategy: str
) -> list[ProposedPick]:
    explained = []
    for index, value, nearest in zip(picks.indices, picks.values, picks.nearest, strict=True):
        if nearest is not None:
            near = pool[nearest]
            reason = (
                f"farthest from everything annotated: the nearest is patient {near.patient_code}, "
                f"{volumes[near.volume_id].name}, slice {near.index}, at distance {value:.3g}"
            )
        elif strategy in {"gcl", "coreset-pixels"}:
            reason = "the first centre, drawn at random"
        else:
            reason = f"drawn by {strategy}"
        explained.append(
            ProposedPick(pool[index].slice_id, value, reason, None if nearest is None else pool[nearest].slice_id)
        )
    return explained
