"""The recipe as published, written plainly from its description: what `benchmarks/speed.py` measures against.

Batch, sizes, float32, NCHW, augmentation of one slice after the other on the host, one forward pass a view, the Dice
loss of DMPLS whose mask broadcasts to (B, B, H, W), validation and pool inference of one slice at a time, one Python
callable for each pair of K-Center. Nothing is slowed on purpose: no prints, no file is read while a step runs, and
K-Center measures each pair once. Sources: Vepa et al., NeurIPS 2024; Luo et al., MICCAI 2022; no line is copied.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
Array = npt.NDArray[Any]


def block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm, leaky ReLU and elementwise dropout (a layer even where it is 0)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(),
    )


class PlainDecoder(nn.Module):
    """1x1 convolution, bilinear enlargement, concatenation, block; four times, then a 3x3 head."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.narrow = nn.ModuleList(nn.Conv2d(wide, small, 1) for wide, small in pairs)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.blocks = nn.ModuleList(block(2 * small, small, 0.0) for _, small in pairs)
        self.head = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits of the five maps."""
        up = maps[-1]
        for narrow, joined, skip in zip(self.narrow, self.blocks, maps[-2::-1], strict=True):
            up = joined(torch.cat([skip, self.enlarge(narrow(up))], dim=1))
        logits: Tensor = self.head(up)
        return logits


class PlainUNet(nn.Module):
    """The published U-Net, with a second decoder behind functional channel dropout where `dual`."""

    def __init__(self, *, dual: bool) -> None:
        super().__init__()
        sizes = zip((1, *WIDTHS[:-1]), WIDTHS, DROPOUT, strict=True)
        self.blocks = nn.ModuleList(block(*each) for each in sizes)
        self.halve = nn.MaxPool2d(2)
        self.main = PlainDecoder()
        self.auxiliary = PlainDecoder() if dual else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of the main and, where there is one, of the auxiliary decoder (also in evaluation mode)."""
        maps = [self.blocks[0](images)]
        for each in self.blocks[1:]:
            maps.append(each(self.halve(maps[-1])))
        if self.auxiliary is None:
            return self.main(maps), None
        return self.main(maps), self.auxiliary([functional.dropout2d(each, 0.5) for each in maps])


def dice_loss(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Batch Dice of four classes; `mask` (B, 1, H, W) against (B, H, W) broadcasts to (B, B, H, W), as published."""
    total = torch.zeros(())
    for value in range(4):
        score, target = scores[:, value], (labels == value).float()
        overlap = torch.sum(score * target * mask)
        squares = torch.sum(score * score * mask) + torch.sum(target * target * mask)
        total = total + 1 - (2 * overlap + 1e-5) / (squares + 1e-5)
    return total / 4


def segmentation_loss(network: PlainUNet, images: Tensor, labels: Tensor) -> Tensor:
    """Loss of one batch: DMPLS on scribbles (4 = unlabelled) for the dual net, else half cross entropy, half Dice."""
    main, auxiliary = network(images)
    soft = torch.softmax(main, dim=1)
    if auxiliary is None:
        # The fully supervised script hands in no mask, so that nothing broadcasts there.
        return 0.5 * (functional.cross_entropy(main, labels) + dice_loss(soft, labels, torch.ones(())))
    other = torch.softmax(auxiliary, dim=1)
    supervised = functional.cross_entropy(main, labels, ignore_index=4)
    supervised = 0.5 * (supervised + functional.cross_entropy(auxiliary, labels, ignore_index=4))
    share = random.random() + 1e-10
    pseudo = torch.argmax(share * soft.detach() + (1 - share) * other.detach(), dim=1)
    mask = torch.ones_like(pseudo.unsqueeze(1), dtype=torch.float32)
    return supervised + 0.5 * 0.5 * (dice_loss(soft, pseudo, mask) + dice_loss(other, pseudo, mask))


def augment_slice(image: Array, label: Array, size: int) -> tuple[Tensor, Tensor]:
    """Turn and flip, or rotate a little, or leave one (H, W) slice; then stretch it to `size` by order 0."""
    if random.random() > 0.5:
        turns, axis = random.randint(0, 3), random.randint(0, 1)
        image, label = (np.flip(np.rot90(each, turns), axis).copy() for each in (image, label))
    elif random.random() > 0.5:
        angle, fill = random.randint(-20, 19), 4 if (label == 4).any() else 0
        image = ndimage.rotate(image, angle, order=0, reshape=False)
        label = ndimage.rotate(label, angle, order=0, reshape=False, mode="constant", cval=fill)
    factors = (size / image.shape[0], size / image.shape[1])
    image, label = ndimage.zoom(image, factors, order=0), ndimage.zoom(label, factors, order=0)
    return torch.from_numpy(image.astype(np.float32)).unsqueeze(0), torch.from_numpy(label.astype(np.int64))


def make_sgd(network: nn.Module) -> torch.optim.SGD:
    """SGD as published, with torch's defaults."""
    return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


def segmentation_step(
    network: PlainUNet, optimizer: torch.optim.Optimizer, images: Sequence[Array], labels: Sequence[Array], size: int
) -> None:
    """One step on native (H, W) slices: augment on the host, forward, loss, backward, SGD."""
    pairs = [augment_slice(image, label, size) for image, label in zip(images, labels, strict=True)]
    batch, targets = torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])
    loss = segmentation_loss(network, batch, targets)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def make_views(size: int) -> transforms.Compose:
    """The random view of one slice, as torchvision draws it."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.8, 1.0), antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(15, translate=(0.2, 0.2), scale=(0.8, 1.2), shear=10),
            transforms.GaussianBlur(5, sigma=(0.1, 2.0)),
            transforms.RandomErasing(p=0.2),
        ]
    )


def encoder_step(
    encoder: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, groups: Tensor, views: transforms.Compose
) -> None:
    """One contrastive step on (B, 1, S, S): two views a slice on the host, a forward pass for each view, Adam."""
    first, second = (torch.stack([views(image) for image in images]) for _ in range(2))
    embeddings = functional.normalize(torch.cat([encoder(first), encoder(second)]), dim=1)
    similar = embeddings @ embeddings.T / 0.5
    itself = torch.eye(len(similar), dtype=torch.bool)
    partner = torch.arange(len(similar)).roll(len(images))
    loss = functional.cross_entropy(similar.masked_fill(itself, -torch.inf), partner)
    ids = torch.cat([groups, groups])
    outside = similar.masked_fill(ids[:, None] == ids[None, :], -torch.inf).logsumexp(dim=1, keepdim=True)
    for weight in (0.05, 0.35):
        loss = loss + weight * (torch.logaddexp(similar, outside) - similar)[~itself].mean()
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def validate(
    network: PlainUNet, volumes: Sequence[tuple[Array, Array]], size: int, *, with_hd95: bool
) -> tuple[float, list[float]]:
    """Mean 3-D Dice of (Z, H, W) volumes, slice by slice there and back by order 0; and the HD95 that goes with it."""
    scores, distances = [], []
    network.eval()
    for images, reference in volumes:
        predicted = np.zeros_like(reference)
        for place, image in enumerate(images):
            height, width = image.shape
            resized = ndimage.zoom(image, (size / height, size / width), order=0)
            with torch.no_grad():
                logits, _ = network(torch.from_numpy(resized)[None, None].float())
                labels = torch.argmax(torch.softmax(logits, dim=1), dim=1)[0].numpy()
            predicted[place] = ndimage.zoom(labels, (height / size, width / size), order=0)
        for value in (1, 2, 3):
            ours, theirs = predicted == value, reference == value
            sizes = ours.sum() + theirs.sum()
            scores.append(2 * (ours & theirs).sum() / sizes if sizes else 1.0)
            if with_hd95 and ours.any() and theirs.any():
                distances.append(hd95(ours, theirs))
    network.train()
    return float(np.mean(scores)), distances


def hd95(one: Array, other: Array) -> float:
    """95th percentile of the surface distances of both directions together, in voxels: as published, not as we do."""
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (one, other)]
    away = [ndimage.distance_transform_edt(~surface) for surface in surfaces]
    both = np.hstack([away[1][surfaces[0]], away[0][surfaces[1]]])
    return float(np.percentile(both, 95))


def score_pool(networks: Sequence[PlainUNet], images: Sequence[Array], size: int, folder: Path) -> Array:
    """Variance ratio of native slices: one at a time, gradients on, half-wide maps zipped to disk and read again."""
    for member, network in enumerate(networks):
        network.eval()
        maps = {}
        for place, image in enumerate(images):
            moved, _ = augment_slice(image, np.zeros_like(image, dtype=np.uint8), size)
            logits, _ = network(moved[None])
            maps[str(place)] = torch.softmax(logits, dim=1)[0].detach().numpy().astype(np.float16)
        np.savez_compressed(folder / f"{member}.npz", **maps)  # type: ignore[arg-type]  # its own flag is a keyword too
    scores = []
    for place in range(len(images)):
        votes = []
        for member in range(len(networks)):
            with np.load(folder / f"{member}.npz") as stored:
                votes.append(stored[str(place)].argmax(axis=0))
        counts = np.stack([(np.stack(votes) == value).sum(axis=0) for value in range(4)])
        scores.append(1 - (counts.max(axis=0) / len(networks)).mean())
    return np.array(scores)


def distance(one: Array, other: Array) -> float:
    """Euclidean distance of one pair, as a callable that is handed to a pairwise loop."""
    return float(np.linalg.norm(one - other))


def k_center(features: Array, first: int, picks: int) -> list[int]:
    """Greedy farthest-first picks from `first` on, one call of `distance` for each (slice, centre) pair."""
    nearest = np.full(len(features), np.inf)
    chosen, centre = [first], first
    nearest[first] = -np.inf
    while len(chosen) < picks:
        to_centre = np.array([distance(each, features[centre]) for each in features])
        nearest = np.minimum(nearest, to_centre)
        centre = int(np.argmax(np.where(np.isin(np.arange(len(features)), chosen), -np.inf, nearest)))
        chosen.append(centre)
    return chosen
