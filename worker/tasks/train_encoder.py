"""Train the project's encoder on all train slices and keep their features."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Model, Project, Round
from app.names import ModelKind
from app.protocols import load_protocol
from app.services import pools, rounds
from worker.checkpoints import save_features, save_weights
from worker.dataset import count_channels, load_slice_pool, load_volumes
from worker.device import choose_device, describe_device
from worker.learning.configs import EncoderConfig
from worker.learning.diversity import measure_diversity
from worker.learning.embed import FittedEncoder, build_encoder, embed_slices, fit_encoder
from worker.memory import fit_in_memory
from worker.resumption import JobCheckpoints
from worker.runner import Record, Work


def run(work: Work) -> Record:
    """Train, embed, store; the recorder goes on to the proposal."""
    with work.database.reading() as session:
        round_ = session.get_one(Round, work.round_id)
        project = session.get_one(Project, work.project_id)
        pool = pools.list_pool(session, project)
        volumes = load_volumes(session, [each.volume_id for each in pool])
    config = EncoderConfig(**dataclasses.asdict(load_protocol(project.protocol).encoder))
    device = choose_device(work.settings)
    slices = load_slice_pool(
        work.blobs, pool, volumes, config.image_size, config.resize, count_channels(volumes.values()), work.progress
    )

    def fit(batch: int) -> FittedEncoder:
        fitting = dataclasses.replace(config, batch_slices=batch)
        seen = [str(each.slice_id) for each in pool]
        identity = {"config": dataclasses.asdict(fitting), "seed": project.seed, "data": seen, "device": str(device)}
        checkpoints = JobCheckpoints(work, identity)
        return fit_encoder(slices, fitting, project.seed, work.progress, device, checkpoints=checkpoints)

    fitted = fit_in_memory(fit, config.batch_slices, config.image_size, least=config.group_size)
    encoder = build_encoder(fitted.state, fitted.config, fitted.channels)
    features = embed_slices(encoder, slices.images, fitted.config, device, work.progress)
    weights_key = save_weights(work.blobs, fitted.state)
    features_key = save_features(work.blobs, [each.slice_id for each in pool], features)

    def record(session: Session) -> dict[str, Any]:
        model = Model(
            project_id=project.id,
            round_id=round_.id,
            kind=ModelKind.ENCODER,
            weights_key=weights_key,
            features_key=features_key,
            config=dataclasses.asdict(fitted.config),
            manifest={
                "seed": project.seed,
                "start": fitted.start,
                "warning": fitted.warning,
                "channels": fitted.channels,
                "slices": len(pool),
                "volumes": sorted(str(volume_id) for volume_id in volumes),
                **describe_device(device),
            },
            metrics={"loss": list(fitted.losses), "diversity": measure_diversity(slices)},
        )
        rounds.record_encoder(session, session.get_one(Round, round_.id), model)
        return {"model_id": str(model.id), "start": fitted.start, "warning": fitted.warning}

    return record
