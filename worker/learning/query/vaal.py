"""VAAL: an adversary learns which slices look annotated already, and those that do not are picked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from worker.learning.errors import TrainingDivergedError
from worker.learning.nets.vaal import STRIDE, Autoencoder, Discriminator, divergence
from worker.learning.query.pool import Picks, QueryPool, list_available, read_count, refuse_unknown_settings
from worker.learning.query.random import pick_without_model
from worker.learning.query.uncertainty import pick_highest
from worker.learning.seeding import seeded_initialisation, torch_generator
from worker.learning.shapes import Progress, as_unit_floats
from worker.learning.transfer import send

EPOCHS = 50
BATCH = 128  # slices of each kind
LEARNING_RATE = 5e-4  # Adam, both networks
AUTOENCODER_STEPS = 2  # to one of the discriminator
READ_BATCH = 256  # slices a forward pass without gradients
NOTHING_ANNOTATED = "drawn at random, because nothing is annotated yet"


def pick_by_vaal(pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator) -> Picks:
    """Pick the slices whose codes the discriminator finds least like those of annotated slices.

    Source: Sinha et al., ICCV 2019, Algorithms 1 and 2; "VAAL" of Vepa et al., NeurIPS 2024. Input: (N, C, S, S)
    images, brought to the next lower power of two a side. An autoencoder with codes of 32 numbers rebuilds annotated
    and other slices and tries to make their codes alike; a discriminator tries to tell them apart. Both are trained
    anew each round. Settings: "epochs" (default 50) and "batch" (128): epochs·N / batch iterations of two autoencoder
    steps and one of the discriminator; "width" (S / 4, which is the published 64 at 256 pixels). Cost: about 2·epochs
    passes of N slices forth and back. Departures: the discriminator's target of other slices is 0 (the published code
    of Vepa et al. has 1 for both, from which nothing is learned); the divergence is divided by the number of a
    picture's elements, as the squared error is (averaged over the code it let the codes collapse on phantoms, and the
    published sum weighs 32 times more); both kinds go through the networks in one pass; networks are read in evaluation
    mode. With nothing annotated: `random`. The value of a pick is 1 - D, so that the most wanted is the highest.
    """
    refuse_unknown_settings(config, "epochs", "batch", "width")
    epochs, batch = read_count(config, "epochs", EPOCHS), read_count(config, "batch", BATCH)
    available = list_available(pool, budget)
    if not pool.annotated.any():
        return pick_without_model(pool, budget, generator, NOTHING_ANNOTATED)
    images = prepare_images(pool.pixels()).to(pool.device)
    width = read_count(config, "width", max(8, images.shape[-1] // 4))
    plan = AdversaryPlan(max(1, epochs * pool.size // batch), batch, width, int(generator.integers(2**63)))
    networks = fit_adversaries(images, torch.from_numpy(pool.annotated), plan, pool.on_progress)
    return pick_highest(available, 1 - judge_slices(*networks, images)[available], budget, generator)


@dataclass(frozen=True)
class AdversaryPlan:
    """How the two networks are trained."""

    iterations: int
    batch: int  # slices of each kind; of fewer annotated ones all are taken
    width: int  # channels after the first convolution
    seed: int


def prepare_images(pixels: npt.NDArray[np.generic]) -> Tensor:
    """Give (N, C, S, S) float32 in [0, 1], S brought to the next lower power of two, or to 32, by nearest neighbour."""
    images = as_unit_floats(torch.from_numpy(pixels))
    side = max(STRIDE, 2 ** (images.shape[-1].bit_length() - 1))
    return images if images.shape[-1] == side else functional.interpolate(images, size=(side, side), mode="nearest")


def fit_adversaries(
    images: Tensor, annotated: Tensor, plan: AdversaryPlan, on_progress: Progress
) -> tuple[Autoencoder, Discriminator]:
    """Train both networks on (N, C, S, S) images of which `annotated` (N,) bool are; gives them in evaluation mode.

    Equal plans give equal networks on one machine. Raises TrainingDivergedError.
    """
    device = images.device
    with seeded_initialisation(plan.seed, "vaal"):
        autoencoder = Autoencoder(images.shape[1], images.shape[-1], plan.width).to(device)
        discriminator = Discriminator().to(device)
    rebuild = torch.optim.Adam(autoencoder.parameters(), lr=LEARNING_RATE, fused=True)
    tell = torch.optim.Adam(discriminator.parameters(), lr=LEARNING_RATE, fused=True)
    order, noise = (
        torch_generator(plan.seed, "vaal", "order"),
        torch_generator(plan.seed, "vaal", "noise", device=device),
    )
    kinds = torch.nonzero(annotated)[:, 0], torch.nonzero(~annotated)[:, 0]

    for iteration in range(1, plan.iterations + 1):
        for _ in range(AUTOENCODER_STEPS):
            batch, count = _draw_batch(images, kinds, plan.batch, order)
            loss = autoencoder_loss(autoencoder, discriminator, batch, count, noise)
            rebuild.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            rebuild.step()
        batch, count = _draw_batch(images, kinds, plan.batch, order)
        with torch.no_grad():
            codes = autoencoder.encode(batch)[0]
        loss = discriminator_loss(discriminator(codes), count)
        tell.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        tell.step()
        on_progress(iteration, plan.iterations, "training the adversaries")
    if not bool(torch.isfinite(loss)):
        raise TrainingDivergedError(plan.iterations, float(loss.detach()))
    return autoencoder.eval(), discriminator.eval()


def autoencoder_loss(
    autoencoder: Autoencoder, discriminator: Discriminator, batch: Tensor, annotated: int, generator: torch.Generator
) -> Tensor:
    """Give squared error + divergence, both a picture's element, + BCE(D, 1), for every code shall look annotated.

    Averaged over the first `annotated` slices of the batch (B, C, S, S), and over the others, and both added.
    """
    mean, log_variance = autoencoder.encode(batch)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    rebuilt = autoencoder.decode(mean + noise * torch.exp(0.5 * log_variance))
    logits = discriminator(mean)
    fooled = functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    error = ((rebuilt - batch) ** 2).mean(dim=(1, 2, 3))
    apart = divergence(mean, log_variance) / batch[0].numel()
    return _add_kinds(error + apart + fooled, annotated)


def discriminator_loss(logits: Tensor, annotated: int) -> Tensor:
    """Give BCE(D, 1) of the first `annotated` of the logits (B,) + BCE(D, 0) of the others, each averaged by itself."""
    targets = (torch.arange(len(logits), device=logits.device) < annotated).float()
    return _add_kinds(functional.binary_cross_entropy_with_logits(logits, targets, reduction="none"), annotated)


@torch.inference_mode()
def judge_slices(autoencoder: Autoencoder, discriminator: Discriminator, images: Tensor) -> npt.NDArray[np.float32]:
    """Give D (N,) in [0, 1] of every slice: 1 for one that looks annotated."""
    judged = [discriminator(autoencoder.encode(batch)[0]).sigmoid() for batch in torch.split(images, READ_BATCH)]
    values: npt.NDArray[np.float32] = torch.cat(judged).cpu().numpy()
    return values


def _draw_batch(
    images: Tensor, kinds: tuple[Tensor, Tensor], batch: int, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Up to `batch` random slices of each kind, the annotated ones first, and how many those are."""
    drawn = [kind[torch.randperm(len(kind), generator=generator)[:batch]] for kind in kinds]
    return images[send(torch.cat(drawn), images.device)], len(drawn[0])


def _add_kinds(each: Tensor, annotated: int) -> Tensor:
    """The mean of the first `annotated` entries + the mean of the others."""
    return each[:annotated].mean() + each[annotated:].mean()
