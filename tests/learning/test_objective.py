"""What `batch_loss` adds to the losses: the share of the two branches in a pseudo label, drawn anew for each batch."""

import pytest
import torch

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
