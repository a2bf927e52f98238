"""What a round's strategy may read, behind lazy readers: for exactly the needs that its descriptor names."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from app.db.models import Model, Volume
from app.names import Need
from app.protocols import EncoderProtocol
from app.services.pools import PoolSlice
from app.storage.blobs import BlobStore
from worker.checkpoints import load_features, load_weights, save_features
from worker.dataset import count_channels, group_codes, load_pool_pixels, load_slice_pool
from worker.learning.configs import EncoderConfig, SegmentationConfig
from worker.learning.embed import build_encoder, embed_slices
from worker.learning.nets.unet import build_network
from worker.learning.query.imagenet import embed_by_imagenet
from worker.learning.query.members import Members
from worker.learning.query.pool import QueryPool

Features = npt.NDArray[np.float32]
_THUMBNAIL = 16  # pixels a side
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class PoolSource:
    """The train slices of a project with everything that it takes to read them."""

    blobs: BlobStore
    slices: Sequence[PoolSlice]
    volumes: dict[uuid.UUID, Volume]
    device: torch.device
    report: Report

    @property
    def slice_ids(self) -> list[uuid.UUID]:
        """The slices' ids in the order of the pool."""
        return [each.slice_id for each in self.slices]

    def read_images(self, size: int, how: str, channels: int) -> torch.Tensor:
        """All slices as (N, channels, size, size) uint8, resized by `how`."""
        return load_slice_pool(self.blobs, self.slices, self.volumes, size, how, channels, self.report).images

    def read_pixels(self, size: int, how: str) -> Features:
        """All slices as (N, C, size, size) float32 in [0, 1], resized by `how`."""
        return load_pool_pixels(self.blobs, self.slices, self.volumes, size, how, self.report)

    def read_thumbnails(self) -> Features:
        """All slices as (N, D) small pictures: a space to measure in where no encoder is trained."""
        return self.read_pixels(_THUMBNAIL, "area").reshape(len(self.slices), -1)


def build_query_pool(
    source: PoolSource,
    needs: frozenset[Need],
    encoder: EncoderProtocol,
    features: Features | None,
    members: Sequence[Model],
) -> QueryPool:
    """The pool of a round: `features` are the encoder's, `members` those of the newest trained round (or nobody).

    `encoder` says at which size the slices' pixels are read. Readers exist for `needs` alone. What is proposed counts
    as annotated: it will be, before anybody learns from this round's slices.
    """
    # A slice that was proposed and then found unfit will never be annotated, nor may it be proposed again.
    unfit = np.array([each.excluded and not each.annotated for each in source.slices], dtype=bool)
    taken = np.array([each.annotated or each.proposed for each in source.slices], dtype=bool) & ~unfit
    patients, volumes = group_codes(source.slices)
    asked = ask_members(source, members) if members and needs & {Need.TASK, Need.PROBABILITIES} else None
    return QueryPool(
        patient_ids=patients,
        volume_ids=volumes,
        z=np.array([each.index for each in source.slices], dtype=np.int64),
        annotated=taken,
        available=~taken & ~unfit,
        feature_reader=None if features is None else lambda: features,
        pixel_reader=_when(needs, Need.PIXELS, lambda: source.read_pixels(encoder.image_size, encoder.resize)),
        imagenet_reader=_when(needs, Need.IMAGENET, lambda: read_imagenet_features(source, encoder)),
        task_reader=None if asked is None else _when(needs, Need.TASK, asked.bottleneck_features),
        probability_reader=asked if Need.PROBABILITIES in needs else None,
        model_missing=not members,
        device=source.device,
        on_progress=source.report,
    )


def read_encoder_features(source: PoolSource, encoder: Model) -> tuple[Features, str | None]:
    """The encoder's features of the pool, and the key under which they were stored if they had to be made anew."""
    if encoder.features_key is not None:
        features = load_features(source.blobs, encoder.features_key, source.slice_ids)
        if features is not None:
            return features, None
    # Volumes came in since the encoder was trained, or a purge took the features of all.
    config = EncoderConfig(**encoder.config)
    channels = int(encoder.manifest["channels"])
    network = build_encoder(load_weights(source.blobs, encoder.weights_key), config, channels)
    images = source.read_images(config.image_size, config.resize, channels)
    features = embed_slices(network, images, config, source.device, source.report)
    return features, save_features(source.blobs, source.slice_ids, features)


def read_imagenet_features(source: PoolSource, encoder: EncoderProtocol) -> Features:
    """What the project's encoder would see before any training; raises WeightsMissingError and WeightsError."""
    config = EncoderConfig(**dataclasses.asdict(encoder))
    channels = count_channels(source.volumes.values())
    read = partial(source.read_images, config.image_size, config.resize, channels)
    return embed_by_imagenet(read, config, source.device, on_progress=source.report)


def ask_members(source: PoolSource, members: Sequence[Model]) -> Members:
    """The members before the pool, at the size they were trained at; features are those of the best on validation."""
    config = SegmentationConfig(**members[0].config)
    networks = [build_network(load_weights(source.blobs, model.weights_key), config) for model in members]
    dice = [float(model.metrics.get("validation_dice") or 0.0) for model in members]
    return Members(
        networks,
        partial(source.read_images, config.image_size, config.resize, config.channels),
        config,
        source.device,
        source.report,
        best=int(np.argmax(dice)),
    )


def _when(
    needs: frozenset[Need], need: Need, reader: Callable[[], npt.NDArray[np.generic]]
) -> Callable[[], npt.NDArray[np.generic]] | None:
    return reader if need in needs else None
