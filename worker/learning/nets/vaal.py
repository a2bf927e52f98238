"""The two networks of VAAL: a variational autoencoder, and a discriminator of its codes (Sinha et al., ICCV 2019)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

CODE = 32  # length of a slice's code
STRIDE = 32  # five halvings: sides are multiples of it
HIDDEN = 512  # of the discriminator


class Autoencoder(nn.Module):
    """Five halving convolutions to a Gaussian code of 32 numbers, and their mirror: (B, C, S, S), S a multiple of 32.

    `width` is the channel count after the first convolution, doubled by each further one; 64 as published.
    """

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.corner = (widths[-1], side // STRIDE, side // STRIDE)  # the shape of the deepest map
        flat = self.corner[0] * self.corner[1] * self.corner[2]
        down: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False), nn.ReLU()]
        for narrow, wide in pairwise(widths):
            down += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        up: list[nn.Module] = []
        for wide, narrow in pairwise(reversed(widths)):
            up += [
                nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        up.append(nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1))
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        self.mean, self.log_variance = nn.Linear(flat, CODE), nn.Linear(flat, CODE)
        self.widen = nn.Linear(CODE, flat)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance of the codes, both (B, 32)."""
        flat = self.down(images).flatten(1)
        return self.mean(flat), self.log_variance(flat)

    def decode(self, codes: Tensor) -> Tensor:
        """Give the images (B, C, S, S) of codes (B, 32)."""
        images: Tensor = self.up(self.widen(codes).view(-1, *self.corner))
        return images


class Discriminator(nn.Module):
    """Tells from a code (B, 32) whether its slice is annotated: logits (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )

    def forward(self, codes: Tensor) -> Tensor:
        """Give the logits (B,): above 0 means annotated."""
        logits: Tensor = self.layers(codes)
        return logits[:, 0]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Give (B,) KL divergences of N(mean, variance) from N(0, 1) in nats, added up over a code's entries (B, 32)."""
    return -0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum(dim=1)
