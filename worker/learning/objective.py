"""What one step of a segmentation training does to its batch: how it is moved, and what it is measured by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.learning.augment_segmentation import augment_slices
from worker.learning.augment_strong import augment_strongly
from worker.learning.configs import SegmentationConfig
from worker.learning.losses.segmentation import (
    dmpls_loss,
    dmsps_loss,
    full_supervision_loss,
    mixed_supervision_loss,
    partial_cross_entropy,
    ramp_up,
)
from worker.learning.nets.unet import DualBranchUNet, UNet
from worker.learning.precision import autocast
from worker.learning.scribbles import SHUT_OUT, mark_shut_out_background
from worker.learning.shapes import UNLABELLED, LabelledSlices, as_unit_floats


@dataclass(frozen=True)
class PreparedSlices:
    """The annotated slices on the device of their training."""

    images: Tensor  # (n, C, S, S) as they came
    labels: Tensor  # (n, S, S) uint8, 255 = unlabelled, 254 = shut out by background where the recipe looks for it
    dense: Tensor | None  # (n,) bool, fully masked; None where it does not matter


def prepare_slices(training: LabelledSlices, config: SegmentationConfig, device: torch.device) -> PreparedSlices:
    """Give the slices ready to draw batches from.

    A mask is told from a scribble by what the annotator left open, before anything is concluded from the scribbles.
    """
    images = training.images.to(device)
    if not config.has_two_decoders:
        return PreparedSlices(images, training.labels.to(device), None)
    labels = training.labels
    dense = (labels != UNLABELLED).flatten(1).all(dim=1)
    if config.shut_out_background:
        labels = mark_shut_out_background(labels)
    return PreparedSlices(images, labels.to(device), dense.to(device) if bool(dense.any()) else None)


def draw_batch(
    slices: PreparedSlices, rows: Tensor, config: SegmentationConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Give images as floats in [0, 1], labels and which are masks, after the random moves that `config` names."""
    images, labels = slices.images[rows], slices.labels[rows]
    dense = None if slices.dense is None else slices.dense[rows]
    if config.augmentation == "strong":
        return *augment_strongly(as_unit_floats(images), labels, generator), dense
    moved, moved_labels = augment_slices(images, labels, generator)
    return as_unit_floats(moved), moved_labels, dense


def batch_loss(
    network: UNet,
    images: Tensor,
    labels: Tensor,
    dense: Tensor | None,
    config: SegmentationConfig,
    generator: torch.Generator,
    step: int,
) -> Tensor:
    """Give the loss of one augmented batch at `step` (from 1); the pseudo labels' share is drawn from `generator`.

    `dense` (B,) says which slices are fully masked, for a network with two decoders; None: none of them is.
    """
    with autocast(config.precision, images.device):
        both = network.both_logits(images) if isinstance(network, DualBranchUNet) else None
        logits = network(images) if both is None else both[0]
    if both is None:
        return full_supervision_loss(logits, labels)
    share = torch.rand((), generator=generator, device=images.device)
    weight = config.pseudo_weight * ramp_up(step, round(config.pseudo_ramp * config.iterations))
    pseudo_loss = dmpls_loss if config.pseudo_labels == "hard" else dmsps_loss

    def scribble_loss(main: Tensor, auxiliary: Tensor, scribbles: Tensor, region: Tensor | None = None) -> Tensor:
        if not config.shut_out_background:
            return pseudo_loss(main, auxiliary, scribbles, share, weight, region)
        # A mean of its own: the many pixels far from every structure would drown the few of the strokes.
        outside = torch.where(scribbles == SHUT_OUT, 0, UNLABELLED)
        strokes = torch.where(scribbles == SHUT_OUT, UNLABELLED, scribbles)
        beyond = partial_cross_entropy(main, outside) + partial_cross_entropy(auxiliary, outside)
        return pseudo_loss(main, auxiliary, strokes, share, weight, region) + beyond / 2

    if dense is None:
        return scribble_loss(*both, labels)
    return mixed_supervision_loss(*both, labels, dense, scribble_loss)
