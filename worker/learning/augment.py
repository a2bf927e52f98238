"""Two random views of a batch of slices, made on the device the batch is on.

The operations, their order and their ranges are those of the published SimCLR set-up of Vepa et al., NeurIPS 2024:
resized crop, horizontal flip, affine map, Gaussian blur, erasing. Crop, flip and affine map are composed into one
bilinear sampling. Random numbers stay on the device as well, so a step never waits for the host.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from worker.learning.errors import ShapeError
from worker.learning.shapes import as_unit_floats

CROP_AREA = (0.8, 1.0)  # part of the picture
CROP_RATIO = (3 / 4, 4 / 3)  # width over height
FLIP_PROBABILITY = 0.5
ROTATION_DEGREES = 15.0  # either way
TRANSLATION = 0.2  # part of the side, either way
SCALE = (0.8, 1.2)
SHEAR_DEGREES = 10.0  # along x, either way
BLUR_SIGMA = (0.1, 2.0)  # pixels; 5 x 5 kernel
ERASE_PROBABILITY = 0.2
ERASE_AREA = (0.02, 0.33)
ERASE_RATIO = (0.3, 3.3)  # height over width
TRIES = 10  # rectangles drawn before giving up on one that fits


def contrastive_views(images: Tensor, generator: torch.Generator) -> Tensor:
    """Give (2B, C, S, S) float32: a first random view of each of the B square slices, then a second one of each.

    `images`: (B, C, S, S), float in [0, 1] or uint8; `generator` lives on the same device. Raises ShapeError.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ShapeError("images", "(B, C, S, S)", images.shape)
    twice = as_unit_floats(images).repeat(2, 1, 1, 1)
    return _erase(_blur(_warp(twice, generator), generator), generator)


def _uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = limits
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def _rectangles(
    count: int, area: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two (count,) sides as parts of the picture's: the first of TRIES draws that fits, else the whole picture.

    The first side over the second is the ratio, drawn evenly in its logarithm.
    """
    areas = _uniform((count, TRIES), area, generator)
    ratios = _uniform((count, TRIES), (math.log(ratio[0]), math.log(ratio[1])), generator).exp()
    first, second = (areas * ratios).sqrt(), (areas / ratios).sqrt()
    fits = (first <= 1) & (second <= 1)
    chosen = fits.int().argmax(dim=1, keepdim=True)
    some = fits.any(dim=1)
    return (
        torch.where(some, first.gather(1, chosen).squeeze(1), 1.0),
        torch.where(some, second.gather(1, chosen).squeeze(1), 1.0),
    )


def _warp(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, flip, then rotate, shear, scale and shift, in one sampling; what leaves the cropped picture is 0."""
    count, _, size, _ = images.shape
    x, y = _before_affine_map(count, size, generator)
    inside = (x.abs() <= 1) & (y.abs() <= 1)
    flip = torch.where(_uniform((count, 1, 1), (0, 1), generator) < FLIP_PROBABILITY, -1.0, 1.0)
    width, height = (side[:, None, None] for side in _rectangles(count, CROP_AREA, CROP_RATIO, generator))
    left, top = (_uniform((count, 1, 1), (-1, 1), generator) for _ in range(2))
    source = torch.stack([x * flip * width + left * (1 - width), y * height + top * (1 - height)], dim=-1)
    sampled = functional.grid_sample(images, source, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled * inside[:, None]


def _before_affine_map(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two (count, S, S) coordinates, in [-1, 1] inside: where each pixel stood before the random affine map."""
    angle = _uniform((count, 1, 1), (-ROTATION_DEGREES, ROTATION_DEGREES), generator).deg2rad()
    shear = _uniform((count, 1, 1), (-SHEAR_DEGREES, SHEAR_DEGREES), generator).deg2rad()
    scale = _uniform((count, 1, 1), SCALE, generator)
    # A picture is 2 wide in these coordinates.
    shift_x, shift_y = (_uniform((count, 1, 1), (-2 * TRANSLATION, 2 * TRANSLATION), generator) for _ in range(2))
    centres = (torch.arange(size, device=generator.device) * 2 + 1) / size - 1
    x, y = centres[None, None, :] - shift_x, centres[None, :, None] - shift_y
    turned_x, turned_y = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    return (turned_x + shear.tan() * turned_y) / scale, turned_y / scale


def _blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur each picture with its own 5 x 5 Gaussian, as two passes of five shifted sums."""
    sigma = _uniform((len(images), 1), BLUR_SIGMA, generator)
    offsets = torch.arange(-2, 3, device=images.device)
    kernel = (-(offsets**2) / (2 * sigma**2)).softmax(dim=1)  # (2B, 5)
    mode = "reflect" if images.shape[-1] > 2 else "replicate"
    for axis, padding in ((3, (2, 2, 0, 0)), (2, (0, 0, 2, 2))):
        size = images.shape[axis]
        padded = functional.pad(images, padding, mode=mode)
        images = sum(
            (kernel[:, place, None, None, None] * padded.narrow(axis, place, size) for place in range(5)),
            start=torch.zeros((), device=images.device),
        )
    return images


def _erase(images: Tensor, generator: torch.Generator) -> Tensor:
    """Set one random rectangle to 0 in a random part of the pictures."""
    count, _, size, _ = images.shape
    height, width = (side[:, None, None] for side in _rectangles(count, ERASE_AREA, ERASE_RATIO, generator))
    top, left = (_uniform((count, 1, 1), (0, 1), generator) for _ in range(2))
    erased = _uniform((count, 1, 1), (0, 1), generator) < ERASE_PROBABILITY
    centres = (torch.arange(size, device=images.device) + 0.5) / size
    y, x = centres[None, :, None] - top * (1 - height), centres[None, None, :] - left * (1 - width)
    hole = (y >= 0) & (y < height) & (x >= 0) & (x < width) & erased
    return images.masked_fill(hole[:, None], 0)
