"""One run seed, many named streams of random numbers, none of them global."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Give the 63-bit seed of the stream called `names` under the run seed.

    Streams of different names are independent, so a new consumer never shifts the numbers of an old one. A hash is used
    and not Python's `hash`, which changes from process to process.
    """
    label = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(blake2b(label.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Give a numpy generator for the stream called `names`."""
    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Give a torch generator on `device` for the stream called `names`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


@contextmanager
def seeded_initialisation(seed: int, *names: str | int) -> Iterator[None]:
    """Let torch modules built inside (on the CPU) draw their weights from the stream called `names`.

    `nn.Module` initialises from the global generator and takes no other; its state is put back afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *names))
        yield
