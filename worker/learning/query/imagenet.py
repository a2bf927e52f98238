"""Features of the contrastive encoder as it stands before its training: the control of what that training adds."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from worker.learning.configs import EncoderConfig
from worker.learning.embed import embed_slices
from worker.learning.errors import WeightsMissingError
from worker.learning.nets.encoder import ContrastiveEncoder, find_imagenet_weights, load_imagenet
from worker.learning.query.pool import Features
from worker.learning.seeding import seeded_initialisation
from worker.learning.shapes import Progress, ignore_progress


def embed_by_imagenet(
    read_images: Callable[[], Tensor],
    config: EncoderConfig,
    device: torch.device,
    weights: Path | None = None,
    on_progress: Progress = ignore_progress,
) -> Features:
    """Give the (N, 512) features of (N, C, S, S) images by a ResNet-18 with ImageNet weights and nothing else.

    The stem, the scaling of pixels and the pooling are those from which the contrastive encoder starts. `weights`: see
    `find_imagenet_weights`. Raises WeightsMissingError, before any image is read, and WeightsError.
    """
    path = find_imagenet_weights(weights)
    if path is None:
        raise WeightsMissingError("ImageNet weights of a ResNet-18")
    images = read_images()
    channels = images.shape[1]
    with seeded_initialisation(0, "overwritten"):
        encoder = ContrastiveEncoder(channels)
    load_imagenet(encoder, path, channels)
    return embed_slices(encoder, images, config, device, on_progress)
