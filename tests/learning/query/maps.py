"""Probability maps that stand in memory: what members would say, without members."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from worker.learning.query.pool import Indices, MapScore


def draw_maps(members: int, slices: int, classes: int, size: int, seed: int, sharpness: float = 1.5) -> Tensor:
    """(M, N, C, S, S) probabilities; members agree more or less, differently from slice to slice."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn((1, slices, classes, size, size), generator=generator)
    own = torch.randn((members, slices, classes, size, size), generator=generator)
    doubt = torch.rand((1, slices, 1, 1, 1), generator=generator)
    return (sharpness * (shared + 2 * doubt * own)).softmax(dim=2)


class KeptMaps:
    """A probability reader over given maps (M, N, C, S, S), `batch` slices at a time; dropout draws among members."""

    def __init__(self, maps: Tensor, batch: int = 7) -> None:
        self.maps, self.batch = maps, batch

    def score_by_members(self, score: MapScore, indices: Indices) -> np.ndarray:
        return self._score(score, self.maps, indices)

    def score_by_dropout(self, score: MapScore, indices: Indices, passes: int, seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randint(len(self.maps), (passes,), generator=generator) for _ in self.maps]
        return np.stack([self._score(score, self.maps[rows], indices) for rows in drawn])

    def _score(self, score: MapScore, maps: Tensor, indices: Indices) -> np.ndarray:
        chunks: Iterable[Tensor] = torch.split(torch.from_numpy(indices), self.batch)
        return torch.cat([score(iter(maps[:, chunk])) for chunk in chunks]).numpy()
