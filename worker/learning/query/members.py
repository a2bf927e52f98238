"""Asks trained members about the slices of a pool: scores over their probability maps, and their bottleneck."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from worker.learning.configs import SegmentationConfig
from worker.learning.errors import BadInputError, ShapeError
from worker.learning.halves import in_halves
from worker.learning.inference import ReadyNetwork, make_ready
from worker.learning.nets.unet import UNet
from worker.learning.precision import memory_format
from worker.learning.predict import CPU_BATCH_PIXELS, GPU_BATCH_PIXELS
from worker.learning.query.pool import Features, Indices, MapScore
from worker.learning.seeding import derive_seed
from worker.learning.shapes import Progress, as_unit_floats
from worker.learning.train import seeded_globals
from worker.learning.transfer import send


class Members:
    """The M members of a round before the N slices of a pool; reads are batched and nothing touches a disk.

    Every member sees the very same un-augmented planes, so the maps of a slice belong together pixel by pixel. (The
    published code read the pool through the training augmentation, each member turned its own way.)
    """

    def __init__(
        self,
        networks: Sequence[UNet],
        read_images: Callable[[], Tensor],
        config: SegmentationConfig,
        device: torch.device,
        on_progress: Progress,
        best: int = 0,
    ) -> None:
        """Take networks of one `config`; `read_images` gives (N, C, S, S) when first asked; features are `best`'s."""
        if not networks:
            raise BadInputError("Asking members about a pool needs at least one trained member.")
        self._config, self._device, self._on_progress = config, device, on_progress
        self._ready = make_ready(networks, config.precision, device)
        self._best = networks[best]
        self._read_images = read_images
        self._images: Tensor | None = None

    @torch.inference_mode()
    def score_by_members(self, score: MapScore, indices: Indices) -> npt.NDArray[np.float32]:
        """Give (n, ...) scores of the n slices at `indices`, each over the maps of all members."""

        def score_batch(planes: Tensor) -> Tensor:
            return score(network(planes) for network in self._ready)

        return self._over_batches(score_batch, indices, "scoring slices").astype(np.float32)

    @torch.inference_mode()
    def score_by_dropout(self, score: MapScore, indices: Indices, passes: int, seed: int) -> npt.NDArray[np.float32]:
        """Give (M, n, ...) scores, each over `passes` passes of one member with dropout on and batch norm in eval.

        The same seed gives the same scores on one machine. Raises BadInputError for a member without dropout.
        """
        scores = []
        for member, network in enumerate(self._ready):

            def score_batch(planes: Tensor, network: ReadyNetwork = network) -> Tensor:
                return score(network(planes) for _ in range(passes))

            message = f"dropout passes of member {member + 1} of {len(self._ready)}"
            with _dropout_on(network), seeded_globals(derive_seed(seed, "dropout", member), self._device):
                scores.append(self._over_batches(score_batch, indices, message))
        return np.stack(scores).astype(np.float32)

    @torch.inference_mode()
    def bottleneck_features(self) -> Features:
        """Give the (N, D) float32 features of the best member: the deepest encoder map, averaged over the plane.

        D is 256, with a ResNet-50 2048. Always computed in float32, for the reason that `embed_slices` has.
        """
        layout = memory_format(self._config.precision, self._device)
        network = self._best.eval().to(self._device)
        network.to(memory_format=layout)

        def average_bottleneck(planes: Tensor) -> Tensor:
            deepest: Tensor = network.encoder(planes.contiguous(memory_format=layout))[-1]
            return deepest.float().mean(dim=(2, 3))

        everything = np.arange(len(self._planes()), dtype=np.int64)
        return self._over_batches(average_bottleneck, everything, "reading features").astype(np.float32)

    def _over_batches(
        self, compute: Callable[[Tensor], Tensor], indices: Indices, message: str
    ) -> npt.NDArray[np.generic]:
        """Give what `compute` makes of the planes at `indices`, batch after batch, joined on the host."""
        images = self._planes()
        pixels = GPU_BATCH_PIXELS if self._device.type == "cuda" else CPU_BATCH_PIXELS
        results = []
        done = 0
        places = send(torch.from_numpy(indices), self._device)
        for batch in torch.split(places, max(1, pixels // self._config.image_size**2)):
            self._on_progress(done, len(indices), message)
            results.append(in_halves(lambda places: compute(as_unit_floats(images[places])), batch))
            done += len(batch)
        joined: npt.NDArray[np.generic] = torch.cat(results).cpu().numpy()
        return joined

    def _planes(self) -> Tensor:
        if self._images is None:
            images, size = self._read_images(), self._config.image_size
            if images.shape[1:] != (self._config.channels, size, size):
                raise ShapeError("images", f"(N, {self._config.channels}, {size}, {size})", images.shape)
            self._images = images.to(self._device)
        return self._images


@contextmanager
def _dropout_on(network: nn.Module) -> Iterator[None]:
    """Let the dropout of `network` act inside, and nothing else of its training mode: batch norm stays as learned."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout | nn.Dropout2d)]
    if not any(layer.p > 0 for layer in layers):
        raise BadInputError("Dropout passes need members with dropout, and these have none.")
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()
