"""Losses of masks and scribbles against loops, against MONAI and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

from tests import oracles
from worker.learning.losses.segmentation import (
    batch_dice_loss,
    dmpls_loss,
    dmsps_loss,
    full_supervision_loss,
    mixed_pseudo_labels,
    mixed_supervision_loss,
    partial_cross_entropy,
    ramp_up,
)


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sets of logits (B, C, H, W) and labels (B, H, W), of which any share is unlabelled, even all."""
    count, classes, height, width = (draw(st.integers(low, high)) for low, high in ((1, 3), (2, 5), (1, 5), (1, 5)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.1, 1.0, 8.0]))
    main, auxiliary = generator.normal(0, scale, (2, count, classes, height, width)).astype(np.float32)
    labels = generator.integers(0, classes, (count, height, width)).astype(np.uint8)
    labels[generator.random(labels.shape) < draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))] = 255
    return main, auxiliary, labels


def assume_clear_pseudo_labels(main: np.ndarray, auxiliary: np.ndarray, share: float) -> None:
    """Leave out cases in which rounding alone decides between two classes of a pixel."""
    mixture = share * oracles.loop_softmax(main) + (1 - share) * oracles.loop_softmax(auxiliary)
    best = np.sort(mixture, axis=1)
    assume((best[:, -1] - best[:, -2]).min() > 1e-5)


@settings(max_examples=40, deadline=None)
@given(batches(), st.floats(0, 0.999), st.floats(0, 2))
def test_losses_equal_their_loops(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray], share: float, pseudo_weight: float
) -> None:
    main, auxiliary, labels = batch
    assume_clear_pseudo_labels(main, auxiliary, share)
    first, second, target = torch.from_numpy(main), torch.from_numpy(auxiliary), torch.from_numpy(labels)
    entropy = oracles.loop_partial_cross_entropy(main, labels)
    dice = oracles.loop_batch_dice_loss(oracles.loop_softmax(main), labels)
    assert partial_cross_entropy(first, target).item() == pytest.approx(entropy, abs=1e-4)
    assert batch_dice_loss(first.softmax(1), target).item() == pytest.approx(dice, abs=1e-4)
    assert full_supervision_loss(first, target).item() == pytest.approx((entropy + dice) / 2, abs=1e-4)
    mixed = dmpls_loss(first, second, target, torch.tensor(share), pseudo_weight)
    assert mixed.item() == pytest.approx(
        oracles.loop_dmpls_loss(main, auxiliary, labels, share, pseudo_weight), abs=2e-4
    )
    soft = dmsps_loss(first, second, target, torch.tensor(share), pseudo_weight)
    assert soft.item() == pytest.approx(
        oracles.loop_dmsps_loss(main, auxiliary, labels, share, pseudo_weight), rel=1e-4, abs=2e-4
    )


@settings(max_examples=40, deadline=None)
@given(batches(), st.floats(0, 0.999), st.floats(0, 2), st.lists(st.booleans(), min_size=3, max_size=3))
def test_masks_and_scribbles_in_one_batch_each_have_their_own_loss(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray], share: float, weight: float, flags: list[bool]
) -> None:
    main, auxiliary, labels = batch
    assume_clear_pseudo_labels(main, auxiliary, share)
    dense = flags[: len(labels)]
    labels = np.where(np.array(dense)[:, None, None] & (labels == 255), 0, labels).astype(np.uint8)
    first, second, target = torch.from_numpy(main), torch.from_numpy(auxiliary), torch.from_numpy(labels)

    def of_scribbles(
        one: torch.Tensor, other: torch.Tensor, scribbles: torch.Tensor, region: torch.Tensor
    ) -> torch.Tensor:
        return dmpls_loss(one, other, scribbles, torch.tensor(share), weight, region)

    def of_soft_scribbles(
        one: torch.Tensor, other: torch.Tensor, scribbles: torch.Tensor, region: torch.Tensor
    ) -> torch.Tensor:
        return dmsps_loss(one, other, scribbles, torch.tensor(share), weight, region)

    mixed = mixed_supervision_loss(first, second, target, torch.tensor(dense), of_scribbles)
    expected = oracles.loop_mixed_supervision_loss(main, auxiliary, labels, dense, share, weight)
    assert mixed.item() == pytest.approx(expected, abs=3e-4)
    soft = mixed_supervision_loss(first, second, target, torch.tensor(dense), of_soft_scribbles)
    expected = oracles.loop_mixed_supervision_loss(main, auxiliary, labels, dense, share, weight, "soft")
    assert soft.item() == pytest.approx(expected, rel=1e-4, abs=3e-4)
    if not any(dense):
        assert mixed.item() == pytest.approx(of_scribbles(first, second, target, torch.tensor([True])).item(), abs=1e-6)


def test_soft_pseudo_labels_keep_to_their_region_and_carry_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    main = torch.randn(2, 3, 4, 4, generator=generator, requires_grad=True)
    auxiliary = torch.randn(2, 3, 4, 4, generator=generator, requires_grad=True)
    labels = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    region = torch.tensor([True, False]).view(2, 1, 1)
    loss = dmsps_loss(main, auxiliary, labels, torch.tensor(1.0), 1.0, region)
    own, other = torch.autograd.grad(loss, (main, auxiliary))
    assert own[0].abs().max() < 1e-6, "the target is the main decoder itself, so it has nothing to learn from it"
    assert other[0].abs().max() > 1e-3
    assert not own[1].any()
    assert not other[1].any()


def test_pseudo_weight_rises_from_almost_nothing_to_all() -> None:
    assert ramp_up(1, 0) == 1
    assert ramp_up(0, 100) == pytest.approx(math.exp(-5))
    assert ramp_up(50, 100) == pytest.approx(math.exp(-1.25))
    assert ramp_up(100, 100) == ramp_up(700, 100) == 1


def test_unlabelled_batch_gives_zero_and_a_zero_gradient() -> None:
    logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.full((2, 8, 8), 255, dtype=torch.uint8)
    for loss in (partial_cross_entropy(logits, labels), full_supervision_loss(logits, labels)):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert not gradient.any()


def test_dmpls_learns_from_pseudo_labels_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    main = torch.randn(2, 4, 8, 8, generator=generator, requires_grad=True)
    auxiliary = torch.randn(2, 4, 8, 8, generator=generator, requires_grad=True)
    labels = torch.full((2, 8, 8), 255, dtype=torch.uint8)
    gradients = torch.autograd.grad(dmpls_loss(main, auxiliary, labels, torch.tensor(0.5)), (main, auxiliary))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_cross_entropy_counts_labelled_pixels_only() -> None:
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 1, 0, 0] = math.log(3)  # p of class 1: 3/4; the others 1/2
    labels = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    assert partial_cross_entropy(logits, labels).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_perfect_prediction_costs_nothing() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    logits = torch.stack([labels == 0, labels == 1], dim=1).float() * 100
    assert full_supervision_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)


def test_renaming_the_classes_changes_no_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 6, 6, generator=generator, dtype=torch.float32)
    labels = torch.randint(0, 4, (2, 6, 6), generator=generator).to(torch.uint8)
    order = torch.tensor([2, 0, 3, 1])
    renamed = order.argsort()[labels.long()].to(torch.uint8)
    assert full_supervision_loss(logits[:, order], renamed).item() == pytest.approx(
        full_supervision_loss(logits, labels).item(), abs=1e-6
    )


def test_share_chooses_the_decoder_and_carries_no_gradient() -> None:
    main = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1).requires_grad_()
    auxiliary = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1).requires_grad_()
    for share, expected in ((0.0, 1), (0.3, 1), (0.4, 0), (1.0, 0)):
        labels = mixed_pseudo_labels(main, auxiliary, torch.tensor(share))
        assert labels.tolist() == [[[expected]]]
        assert not labels.requires_grad


def test_full_loss_agrees_with_monai(monai_losses: object) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 10, 12, generator=generator)
    labels = torch.randint(0, 4, (3, 10, 12), generator=generator).to(torch.uint8)
    monai = monai_losses.DiceCELoss(  # type: ignore[attr-defined]
        to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    expected = monai(logits, labels.unsqueeze(1).long()).item() / 2
    assert full_supervision_loss(logits, labels).item() == pytest.approx(expected, abs=1e-5)
