"""Planes and labels between their native size and the size that a network sees.

"nearest" is the published way (order-0 zoom of image and label alike). It is harmless where the network sees about the
native size; far below it drops most of a one-pixel scribble and aliases the image. "area" is for such small inputs:
images are averaged, a cell takes the label that most of its labelled pixels have, and what is predicted comes back by
interpolated probabilities.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from worker.learning.intensity import nearest_sources, resize_nearest
from worker.learning.shapes import UNLABELLED, LabelArray


def resize_planes(planes: npt.NDArray[np.float32], size: int, how: str) -> npt.NDArray[np.float32]:
    """Give (N, C, H, W) float32 images at (N, C, size, size); an average never leaves the range of its pixels."""
    if how == "nearest":
        return resize_nearest(planes, (size, size)).astype(np.float32, copy=False)
    resized = functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(planes)), (size, size), mode="bilinear", antialias=True
    )
    # Rounding may leave the range by the last bit, which a uint8 pool would wrap around.
    averaged: npt.NDArray[np.float32] = resized.clamp(float(planes.min()), float(planes.max())).numpy()
    return averaged


def resize_mask(mask: LabelArray, size: int, how: str) -> LabelArray:
    """Give an (H, W) mask at (size, size); a cell without any labelled pixel stays 255.

    By "area" the class with most pixels of a cell wins, of equals the lowest, whatever else of the cell is unlabelled.
    """
    if how == "nearest":
        nearest: LabelArray = resize_nearest(mask, (size, size)).astype(np.uint8, copy=False)
        return nearest
    classes = [int(value) for value in np.unique(mask) if value != UNLABELLED]
    if not classes:
        return np.full((size, size), UNLABELLED, dtype=np.uint8)
    layers = torch.from_numpy(np.stack([mask == value for value in classes]).astype(np.float32))
    shares = functional.adaptive_avg_pool2d(layers[None], size)[0]
    winners: LabelArray = np.array(classes, dtype=np.uint8)[shares.argmax(dim=0).numpy()]
    winners[(shares.sum(dim=0) == 0).numpy()] = UNLABELLED
    return winners


def labels_in_native(probabilities: Tensor, native: tuple[int, int], how: str) -> Tensor:
    """Give (Z, H, W) uint8 labels in `native` size from (Z, K, S, S) probabilities, on their device."""
    if how == "nearest":
        return resize_labels(most_probable(probabilities), native)
    return most_probable(functional.interpolate(probabilities, native, mode="bilinear"))


def most_probable(probabilities: Tensor) -> Tensor:
    """Give the class (Z, H, W) uint8 of the highest probability (Z, K, H, W), of equals the lowest."""
    # Not `argmax`, which is ten times slower along so short an axis of a CPU's tensor.
    return probabilities.max(dim=1).indices.to(torch.uint8)


def uncertainty_in_native(probabilities: Tensor, native: tuple[int, int], how: str) -> Tensor:
    """Give (Z, H, W) uint8 in `native` size: 255 times the entropy over ln K, of (Z, K, S, S) probabilities.

    Resized as the labels are, so that an uncertainty always belongs to the label at its pixel.
    """
    if how != "nearest":
        probabilities = functional.interpolate(probabilities, native, mode="bilinear")
    entropy = torch.special.entr(probabilities).sum(dim=1) / math.log(probabilities.shape[1])
    unsure = (entropy * 255).round().clamp(0, 255).to(torch.uint8)
    return resize_labels(unsure, native) if how == "nearest" else unsure


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Give (Z, H, W) labels at `size` on their device, as `intensity.resize_nearest` does on the host."""
    rows = torch.from_numpy(nearest_sources(labels.shape[-2], size[0])).to(labels.device)
    columns = torch.from_numpy(nearest_sources(labels.shape[-1], size[1])).to(labels.device)
    return labels.index_select(-2, rows).index_select(-1, columns)
