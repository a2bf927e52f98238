"""Predict the masks of volumes with a round's ensemble."""

from __future__ import annotations

import uuid
from typing import Any

import torch
from sqlalchemy.orm import Session

from app.db.models import Project, Round
from app.errors import NoModelYet
from app.services import rounds
from app.services.predictions import PredictedVolume, record_predictions
from app.storage.masks import encode_mask
from app.storage.planes import store_planes
from worker.checkpoints import load_weights
from worker.dataset import load_volumes, read_planes
from worker.device import choose_device
from worker.learning.configs import SegmentationConfig
from worker.learning.inference import make_ready
from worker.learning.nets.unet import build_network
from worker.learning.predict import predict_with_uncertainty
from worker.runner import Record, Work


def run(work: Work) -> Record:
    """Predict the volumes named in the payload, one at a time."""
    with work.database.reading() as session:
        round_ = session.get_one(Round, work.round_id)
        members = rounds.list_members(session, round_)
        if not members:
            raise NoModelYet(session.get_one(Project, work.project_id).slug)
        volumes = load_volumes(session, [uuid.UUID(each) for each in work.payload["volume_ids"]])
    work.progress(0, len(volumes), "reading the members")
    config = SegmentationConfig(**members[0].config)
    device = choose_device(work.settings)
    built = (build_network(load_weights(work.blobs, model.weights_key), config) for model in members)
    networks = make_ready(built, config.precision, device)
    predicted = []
    for done, volume in enumerate(volumes.values()):
        # Told again at every batch of planes, so that a cancellation need not wait for the volume.
        again = work.tell(done, len(volumes), f"predicting {volume.patient.code} {volume.name}")
        planes = torch.from_numpy(read_planes(work.blobs, volume, config.image_size, config.resize, config.channels))
        mask, unsure = predict_with_uncertainty(networks, planes, (volume.height, volume.width), config, device, again)
        pack = store_planes(work.blobs, unsure)
        predicted.append(PredictedVolume(volume.id, work.blobs.put(encode_mask(mask)), pack))

    def record(session: Session) -> dict[str, Any]:
        record_predictions(session, session.get_one(Round, round_.id), predicted)
        return {"volumes": len(predicted), "round": round_.number, "model_version": round_.number}

    return record
