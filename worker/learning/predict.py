"""What trained networks say about slices: probabilities, and label volumes in native geometry."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from worker.learning.configs import SegmentationConfig
from worker.learning.errors import BadInputError, ShapeError
from worker.learning.halves import in_halves
from worker.learning.inference import ReadyNetwork, make_ready
from worker.learning.resize import labels_in_native, most_probable, uncertainty_in_native
from worker.learning.shapes import LabelArray, Progress, as_unit_floats, ignore_progress, refuse_bad_images

# Pixels a forward pass: on a CPU 2 planes of 256 x 256 (a half-wide map of 16 channels is 4 MiB; one plane more and the
# pass is slower), on a GPU 256 of them.
CPU_BATCH_PIXELS = 2**17
GPU_BATCH_PIXELS = 2**24


def predict_probabilities(
    networks: Sequence[nn.Module],
    images: Tensor,
    config: SegmentationConfig,
    device: torch.device,
    on_progress: Progress = ignore_progress,
) -> Tensor:
    """Give (Z, C, S, S) float32 on `device`: the mean of the members' softmax, for images (Z, 1 or 3, S, S).

    Evaluation mode, no augmentation, every member sees the very same planes, so pixels of an ensemble always belong
    together; the members themselves are left as they are. Whoever predicts many volumes hands in what `make_ready`
    gave, here and below; `on_progress` is told of each batch of planes, and what it raises ends the prediction. Raises
    ShapeError for images the networks were not made for and BadInputError without a network.
    """
    chunks = list(_probability_chunks(networks, images, config, device, on_progress))
    if not chunks:
        return torch.empty(0, config.classes, config.image_size, config.image_size, device=device)
    return torch.cat(chunks)


def predict_labels(
    networks: Sequence[nn.Module], images: Tensor, config: SegmentationConfig, device: torch.device
) -> Tensor:
    """Give the most probable class (Z, S, S) as uint8 on `device`; without keeping the probabilities of all planes."""
    chunks = [most_probable(chunk) for chunk in _probability_chunks(networks, images, config, device)]
    if not chunks:
        return torch.empty(0, config.image_size, config.image_size, dtype=torch.uint8, device=device)
    return torch.cat(chunks)


def predict_in_native(
    networks: Sequence[nn.Module],
    images: Tensor,
    native: tuple[int, int],
    config: SegmentationConfig,
    device: torch.device,
) -> Tensor:
    """Give the labels (Z, H, W) uint8 of a volume in its `native` plane size, on `device`, as `config.resize` says."""
    chunks = _probability_chunks(networks, images, config, device)
    none = torch.empty(0, *native, dtype=torch.uint8, device=device)
    return torch.cat([none, *(labels_in_native(chunk, native, config.resize) for chunk in chunks)])


def predict_with_uncertainty(
    networks: Sequence[nn.Module],
    images: Tensor,
    native: tuple[int, int],
    config: SegmentationConfig,
    device: torch.device,
    on_progress: Progress = ignore_progress,
) -> tuple[LabelArray, LabelArray]:
    """Give (labels, uncertainty), both (Z, H, W) uint8 in `native` plane size on the host.

    The uncertainty is the entropy of the members' mean probabilities over its maximum ln C, times 255: 0 where one
    class is certain, 255 where all C are equally probable (predictive entropy; Beluch et al., CVPR 2018, Section 3).
    """
    labels = [torch.empty(0, *native, dtype=torch.uint8, device=device)]
    unsure = [torch.empty(0, *native, dtype=torch.uint8, device=device)]
    for chunk in _probability_chunks(networks, images, config, device, on_progress):
        labels.append(labels_in_native(chunk, native, config.resize))
        unsure.append(uncertainty_in_native(chunk, native, config.resize))
    return torch.cat(labels).cpu().numpy(), torch.cat(unsure).cpu().numpy()


def predict_volume(
    networks: Sequence[nn.Module],
    images: Tensor,
    native: tuple[int, int],
    config: SegmentationConfig,
    device: torch.device,
) -> LabelArray:
    """Give the labels (Z, H, W) of a volume in its `native` plane size on the host."""
    labels: LabelArray = predict_in_native(networks, images, native, config, device).cpu().numpy()
    return labels


def _probability_chunks(
    networks: Sequence[nn.Module],
    images: Tensor,
    config: SegmentationConfig,
    device: torch.device,
    on_progress: Progress = ignore_progress,
) -> Iterator[Tensor]:
    """Give the mean probabilities of one batch of planes after the other."""
    refuse_bad_images(images)
    if images.shape[1:] != (config.channels, config.image_size, config.image_size):
        raise ShapeError("images", f"(Z, {config.channels}, {config.image_size}, {config.image_size})", images.shape)
    if not networks:
        raise BadInputError("A prediction needs at least one trained network.")
    ready = make_ready(networks, config.precision, device)
    pixels = GPU_BATCH_PIXELS if device.type == "cuda" else CPU_BATCH_PIXELS
    size = max(1, pixels // config.image_size**2)
    for number, batch in enumerate(torch.split(images, size)):
        on_progress(number * size, len(images), "predicting")
        yield in_halves(partial(_mean_softmax, ready), as_unit_floats(batch.to(device)))


@torch.inference_mode()
def _mean_softmax(networks: Sequence[ReadyNetwork], planes: Tensor) -> Tensor:
    """Give the mean over the members of their softmax, in float32."""
    total: Tensor | None = None
    for network in networks:
        probabilities = network(planes)
        total = probabilities if total is None else total.add_(probabilities)
    assert total is not None
    return total if len(networks) == 1 else total.div_(len(networks))
