"""Train the contrastive encoder of a run, and read its features (Vepa et al., NeurIPS 2024, Sections 3.2 and 4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.learning.augment import contrastive_views
from worker.learning.configs import EncoderConfig
from worker.learning.errors import NonFiniteError, ShapeError, TrainingDivergedError
from worker.learning.halves import in_halves
from worker.learning.losses.contrastive import total_loss
from worker.learning.memory import training_memory
from worker.learning.nets.encoder import FEATURES, ContrastiveEncoder, find_imagenet_weights, load_imagenet
from worker.learning.nets.winograd import take_winograd
from worker.learning.precision import autocast, memory_format
from worker.learning.resume import Checkpoints, Resumable
from worker.learning.samplers import SliceOrder, draw_epoch, flatten_groups, number_groups, sort_slices
from worker.learning.seeding import seeded_initialisation, torch_generator
from worker.learning.shapes import Progress, SlicePool, as_unit_floats, ignore_progress
from worker.learning.transfer import send

NO_WEIGHTS = "ImageNet weights could not be had, so the encoder started from scratch."


@dataclass(frozen=True)
class FittedEncoder:
    """A trained encoder with what is needed to rebuild it and to tell how it came about."""

    state: dict[str, Tensor]  # on the CPU
    config: EncoderConfig
    channels: int
    start: str  # "imagenet" or "scratch": what truly happened
    losses: tuple[float, ...]  # mean over the batches of each epoch
    warning: str | None


def fit_encoder(
    pool: SlicePool,
    config: EncoderConfig,
    seed: int,
    on_progress: Progress,
    device: torch.device,
    imagenet_weights: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> FittedEncoder:
    """Train an encoder on the un-augmented slices of `pool` for a fixed number of epochs and keep the last weights.

    `on_progress` is called after every step; what it raises ends the training. Equal seeds give equal weights on one
    machine, from whichever checkpoint (one an epoch) it goes on. Raises ShapeError, PoolStructureError, NonFiniteError,
    WeightsError, TrainingDivergedError.
    """
    order = _check_pool(pool, config)
    channels = pool.images.shape[1]
    encoder, start = _start_encoder(channels, config, seed, imagenet_weights)
    layout = memory_format(config.precision, device)
    encoder = encoder.to(device=device, memory_format=layout).train()  # type: ignore[call-overload]
    take_winograd(encoder, config.precision, device)
    images, patients, volumes, z = (ids.to(device) for ids in (pool.images, pool.patient_ids, pool.volume_ids, pool.z))
    optimizer = torch.optim.Adam(
        encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    generator = torch_generator(seed, "augment", device=device)

    resumable = Resumable({"encoder": encoder}, optimizer, generator, device)
    losses: list[float] = []
    step = 0
    if checkpoints is not None and checkpoints.found is not None:
        resumable.restore(checkpoints.found)
        losses, step = list(checkpoints.found.facts["losses"]), int(checkpoints.found.facts["step"])
        # What truly happened at the start; the file of weights may have come or gone meanwhile.
        start = str(checkpoints.found.facts["start"])
    with (
        training_memory(device, large_maps=True),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        for epoch in range(len(losses), config.epochs):
            batches = draw_epoch(order, config.relations, config.batch_slices, seed, epoch)
            total = torch.zeros((), device=device)
            for groups in batches:
                batch = send(torch.from_numpy(flatten_groups(groups)), device)
                sampled = send(torch.from_numpy(number_groups(groups)), device) if config.legacy else None
                views = contrastive_views(images[batch], generator).contiguous(memory_format=layout)
                # Both views in one pass: half the launches, and batch statistics over twice the slices.
                with autocast(config.precision, device):
                    first, second = encoder(views).chunk(2)
                loss = total_loss(first, second, patients[batch], volumes[batch], z[batch], config, sampled)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.detach()
                step += 1
                on_progress(step, config.epochs * len(batches), _message(epoch, config.epochs, losses))
            # Read once an epoch: reading each loss would make a GPU wait for the host at every step.
            losses.append(float(total) / len(batches))
            if not np.isfinite(losses[-1]):
                raise TrainingDivergedError(step, losses[-1])
            if checkpoints is not None and epoch + 1 < config.epochs:
                facts = {"losses": losses, "step": step, "start": start}
                checkpoints.keep(partial(resumable.snapshot, facts))

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    warning = NO_WEIGHTS if start != config.start else None
    return FittedEncoder(state, config, channels, start, tuple(losses), warning)


def build_encoder(state: Mapping[str, Tensor], config: EncoderConfig, channels: int) -> ContrastiveEncoder:
    """Rebuild a trained encoder from what `fit_encoder` gave, on the CPU and in evaluation mode."""
    del config  # the architecture has no settings yet; callers hand in what they saved, so that it may get some
    with seeded_initialisation(0, "overwritten"):
        encoder = ContrastiveEncoder(channels)
    encoder.load_state_dict(state)
    return encoder.eval()


def embed_slices(
    encoder: ContrastiveEncoder,
    images: Tensor,
    config: EncoderConfig,
    device: torch.device,
    on_progress: Progress = ignore_progress,
) -> npt.NDArray[np.float32]:
    """Give the (N, 512) features of (N, C, S, S) images: before the head, evaluation mode, no augmentation, unscaled.

    Always in float32, whatever `config.precision` says: bfloat16 features have so many near ties that K-Center picks
    other slices. Raises NonFiniteError.
    """
    encoder = encoder.to(device).eval()
    with torch.inference_mode():
        found = [torch.empty(0, FEATURES, device=device)]
        for batch in torch.split(images.to(device), config.embed_batch):
            on_progress(sum(map(len, found)), len(images), "reading features")
            found.append(in_halves(lambda planes: encoder.features(as_unit_floats(planes)), batch))
        features: npt.NDArray[np.float32] = torch.cat(found).cpu().numpy()  # read once, for each read waits for a GPU
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise NonFiniteError("encoder features", [int(bad[0])])
    return features


def _start_encoder(
    channels: int, config: EncoderConfig, seed: int, imagenet_weights: Path | None
) -> tuple[ContrastiveEncoder, str]:
    """A fresh encoder with ImageNet weights where wanted and to be had, and the word for how it starts."""
    with seeded_initialisation(seed, "encoder"):
        encoder = ContrastiveEncoder(channels)
    path = find_imagenet_weights(imagenet_weights) if config.start == "imagenet" else None
    if path is None:
        return encoder, "scratch"
    load_imagenet(encoder, path, channels)
    return encoder, "imagenet"


def _check_pool(pool: SlicePool, config: EncoderConfig) -> SliceOrder:
    size = config.image_size
    if pool.images.shape[2:] != (size, size):
        raise ShapeError("images of the pool", f"(N, C, {size}, {size})", pool.images.shape)
    if pool.images.is_floating_point():
        bad = torch.nonzero(~torch.isfinite(pool.images).flatten(1).all(dim=1))
        if len(bad):
            raise NonFiniteError("images of the pool", [int(bad[0])])
    return sort_slices(pool.patient_ids.cpu().numpy(), pool.volume_ids.cpu().numpy(), pool.z.cpu().numpy())


def _message(epoch: int, epochs: int, losses: list[float]) -> str:
    last = f", loss {losses[-1]:.4f}" if losses else ""
    return f"epoch {epoch + 1} of {epochs}{last}"
