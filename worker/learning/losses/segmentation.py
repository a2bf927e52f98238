"""Losses of a segmentation training, for full masks, for scribbles and for both in one batch.

All take labels (B, H, W) of integers with 255 = unlabelled, and count unlabelled pixels nowhere. Sums run over the
whole batch, so slices with more labelled pixels weigh more. Without a single labelled pixel the supervised losses are 0
and have gradient 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from worker.learning.shapes import UNLABELLED

DICE_SMOOTHING = 1e-5  # of numerator and denominator


def partial_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the mean of -log p[label] over the labelled pixels of the batch, from logits (B, C, H, W).

    The pCE of scribble supervision (Tang et al., CVPR 2018); on a complete mask it is the ordinary cross entropy.
    """
    total = functional.cross_entropy(logits.float(), labels.long(), ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)


def batch_dice_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Give the mean over all C classes, background too, of 1 - (2 sum(p y) + e) / (sum(p^2) + sum(y) + e).

    `probabilities` are (B, C, H, W); the sums run over batch and labelled pixels together, as the published code of
    DMPLS has it (Luo et al., MICCAI 2022). A class that is neither predicted nor present adds 0.
    """
    classes = torch.arange(probabilities.shape[1], device=labels.device, dtype=labels.dtype)
    present = labels.unsqueeze(1) == classes.view(1, -1, 1, 1)  # (B, C, H, W)
    known = (labels != UNLABELLED).unsqueeze(1)
    overlap = (probabilities * present).sum(dim=(0, 2, 3))
    predicted = (probabilities.square() * known).sum(dim=(0, 2, 3))
    dice = (2 * overlap + DICE_SMOOTHING) / (predicted + present.sum(dim=(0, 2, 3)) + DICE_SMOOTHING)
    return 1 - dice.mean()


def full_supervision_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Give (cross entropy + batch Dice loss) / 2, the loss of masks, from logits (B, C, H, W)."""
    logits = logits.contiguous().float()  # one plane a class is read fastest
    probabilities = logits.softmax(dim=1)
    return (partial_cross_entropy(logits, labels) + batch_dice_loss(probabilities, labels)) / 2


def mixed_pseudo_labels(main: Tensor, auxiliary: Tensor, share: Tensor) -> Tensor:
    """Give the hard labels (B, H, W) of share * main + (1 - share) * auxiliary, both probabilities (B, C, H, W).

    Background takes part, nothing is thresholded and scribbled pixels may be contradicted, as published.
    """
    return torch.lerp(auxiliary.detach(), main.detach(), share).max(dim=1).indices


def dmpls_loss(
    main: Tensor,
    auxiliary: Tensor,
    labels: Tensor,
    share: Tensor,
    pseudo_weight: float = 0.5,
    region: Tensor | None = None,
) -> Tensor:
    """Give the dynamically mixed pseudo label loss of two decoders' logits (B, C, H, W), the loss of scribbles.

    L = (pCE1 + pCE2) / 2 + pseudo_weight * (D1 + D2) / 2; both Dice terms compare with the pseudo label, and `share` is
    one number in [0, 1) drawn for the whole batch (Luo et al., MICCAI 2022, Section 2). Unlike the losses of labelled
    pixels alone, it is not 0 without labels: the pseudo label covers every pixel, or those of `region` (bool, to be
    broadcast to (B, H, W)).
    """
    main, auxiliary = (each.contiguous().float() for each in (main, auxiliary))  # one plane a class is read fastest
    main_probabilities, auxiliary_probabilities = main.softmax(dim=1), auxiliary.softmax(dim=1)
    pseudo = mixed_pseudo_labels(main_probabilities, auxiliary_probabilities, share)
    if region is not None:
        pseudo = torch.where(region, pseudo, UNLABELLED)
    supervised = partial_cross_entropy(main, labels) + partial_cross_entropy(auxiliary, labels)
    consistent = batch_dice_loss(main_probabilities, pseudo) + batch_dice_loss(auxiliary_probabilities, pseudo)
    return supervised / 2 + pseudo_weight * consistent / 2


def dmsps_loss(
    main: Tensor,
    auxiliary: Tensor,
    labels: Tensor,
    share: Tensor,
    pseudo_weight: float,
    region: Tensor | None = None,
) -> Tensor:
    """Give the loss with *soft* mixed pseudo labels of two decoders' logits (B, C, H, W), for scribbles.

    L = (pCE1 + pCE2) / 2 + pseudo_weight * (H1 + H2) / 2, where H is the mean over all pixels, or those of `region`, of
    the cross entropy with the detached mixture share * p1 + (1 - share) * p2 itself instead of its argmax (Han et al.,
    Medical Image Analysis 2024). A pixel of which the decoders are unsure thus teaches no false certainty. Departure:
    the published code takes the soft-max of the probabilities once more inside H, and weighs it by 8.
    """
    logs = [each.float().log_softmax(dim=1) for each in (main, auxiliary)]
    mixture = torch.lerp(logs[1].detach().exp(), logs[0].detach().exp(), share)
    supervised = partial_cross_entropy(main, labels) + partial_cross_entropy(auxiliary, labels)
    unlike = -(mixture * (logs[0] + logs[1])).sum(dim=1)  # (B, H, W)
    counted = torch.ones_like(unlike) if region is None else region.expand_as(unlike).to(unlike.dtype)
    consistent = (unlike * counted).sum() / counted.sum().clamp(min=1)
    return supervised / 2 + pseudo_weight * consistent / 2


def mixed_supervision_loss(
    main: Tensor,
    auxiliary: Tensor,
    labels: Tensor,
    dense: Tensor,
    scribble_loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Give the loss of a batch that holds masks and scribbles, from two decoders' logits (B, C, H, W).

    `dense` (B,) bool says which slices are fully masked. Those teach both decoders by cross entropy and Dice, the
    others by `scribble_loss(main, auxiliary, scribbles, region)`, whose pseudo labels keep to `region`. The two are
    averaged by the number of slices of each kind and not of pixels, or the few pixels of the scribbles would drown.
    Without a mask it is the scribble loss, without a scribble the mean of both decoders' mask losses. No source: none
    of the methods compared by Vepa et al., NeurIPS 2024, can be trained so.
    """
    is_dense = dense.view(-1, 1, 1)
    masks = torch.where(is_dense, labels, UNLABELLED)
    scribbles = torch.where(is_dense, UNLABELLED, labels)
    of_masks = (full_supervision_loss(main, masks) + full_supervision_loss(auxiliary, masks)) / 2
    of_scribbles = scribble_loss(main, auxiliary, scribbles, ~is_dense)
    portion = dense.float().mean()
    return portion * of_masks + (1 - portion) * of_scribbles


def ramp_up(step: int, steps: int) -> float:
    """Give exp(-5 (1 - step / steps)^2), which rises to 1 at `steps` (Laine and Aila, ICLR 2017); 1 without a ramp."""
    if step >= steps:
        return 1.0
    return math.exp(-5 * (1 - step / steps) ** 2)
