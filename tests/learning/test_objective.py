"""What `batch_loss` adds to the losses: the share of the two branches in a pseudo label, and what strokes shut out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from tests import oracles
from tests.learning.test_segmentation_losses import assume_clear_pseudo_labels
from worker.learning.configs import SegmentationConfig
from worker.learning.losses.segmentation import dmpls_loss
from worker.learning.nets.unet import DualBranchUNet, build_network
from worker.learning.objective import batch_loss
from worker.learning.seeding import seeded_initialisation


def test_the_share_of_a_pseudo_label_is_one_uniform_draw_of_the_handed_generator() -> None:
    config = SegmentationConfig(network="dmpls", image_size=32, classes=3, precision="float32")
    with seeded_initialisation(0, "objective"):
        network = build_network(None, config).eval()
    assert isinstance(network, DualBranchUNet)
    generator, same = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    images = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    labels = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    labels[:, :4, :4], labels[:, 8:12, 8:12] = 0, 1
    seen = []
    with torch.no_grad():
        both = network.both_logits(images)
        for step in (1, 2, 3):
            loss = batch_loss(network, images, labels, None, config, generator, step)
            share = torch.rand((), generator=same)
            assert loss.item() == pytest.approx(dmpls_loss(*both, labels, share, config.pseudo_weight).item(), abs=1e-6)
            seen.append(loss.item())
    assert len(set(seen)) > 1, "not the same share each time"


class Answering(DualBranchUNet):
    """A network whose decoders say what they are told, so that nothing but the loss is looked at."""

    def __init__(self, main: np.ndarray, auxiliary: np.ndarray) -> None:
        nn.Module.__init__(self)
        self.said = torch.from_numpy(main), torch.from_numpy(auxiliary)

    def both_logits(self, _images: Tensor) -> tuple[Tensor, Tensor]:
        return self.said


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(1, 4), st.integers(1, 4)),
    open_share=st.sampled_from([0.0, 0.5, 1.0]),
    pseudo_labels=st.sampled_from(["hard", "soft"]),
    shut_out=st.booleans(),
    dense=st.none() | st.lists(st.booleans(), min_size=3, max_size=3),
    step=st.integers(1, 20),
)
def test_the_loss_of_scribbles_equals_its_loops_whatever_the_recipe(
    *,
    seed: int,
    shape: tuple[int, int, int, int],
    open_share: float,
    pseudo_labels: str,
    shut_out: bool,
    dense: list[bool] | None,
    step: int,
) -> None:
    draws = np.random.default_rng(seed)
    count, classes, height, width = shape
    main, auxiliary = draws.normal(0, 2, (2, *shape)).astype(np.float32)
    labels = draws.integers(0, classes, (count, height, width)).astype(np.uint8)
    labels[draws.random(labels.shape) < open_share] = 255
    if shut_out:
        labels[(labels == 255) & (draws.random(labels.shape) < 0.5)] = 254
    flags = None if dense is None else dense[:count]
    if flags is not None:
        labels[flags] = np.where(labels[flags] >= 254, 0, labels[flags])
    share = float(torch.rand((), generator=torch.Generator().manual_seed(3)))
    assume_clear_pseudo_labels(main, auxiliary, share)
    config = SegmentationConfig(
        network="dmpls",
        classes=classes,
        precision="float32",
        iterations=20,
        pseudo_weight=0.7,
        pseudo_ramp=0.5,
        pseudo_labels=pseudo_labels,
        shut_out_background=shut_out,
    )
    loss = batch_loss(
        Answering(main, auxiliary),
        torch.zeros(count, 1, height, width),
        torch.from_numpy(labels),
        None if flags is None else torch.tensor(flags),
        config,
        torch.Generator().manual_seed(3),
        step,
    )
    weight = 0.7 * np.exp(-5 * max(0.0, 1 - step / 10) ** 2)
    kinds = [False] * count if flags is None else flags
    expected = oracles.loop_mixed_supervision_loss(main, auxiliary, labels, kinds, share, weight, pseudo_labels)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=3e-4)
