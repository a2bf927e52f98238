"""What does not fit into memory is tried once more in halves, and then says what was tried."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worker.learning.errors import MemoryExhaustedError
from worker.learning.halves import in_halves


def doubling(limit: int, seen: list[int], error: RuntimeError | None = None):
    def compute(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        if len(batch) > limit:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return 2 * batch

    return compute


@pytest.mark.parametrize(("limit", "passes"), [(5, [5]), (4, [5, 3, 2]), (3, [5, 3, 2])])
def test_halves_give_what_the_whole_gives(limit: int, passes: list[int]) -> None:
    seen: list[int] = []
    assert torch.equal(in_halves(doubling(limit, seen), torch.arange(5)), 2 * torch.arange(5))
    assert seen == passes


@pytest.mark.parametrize(("count", "tried"), [(8, (8, 4)), (1, (1,))])
def test_what_was_tried_is_said_when_halves_do_not_fit_either(count: int, tried: tuple[int, ...]) -> None:
    with pytest.raises(MemoryExhaustedError) as caught:
        in_halves(doubling(0, []), torch.arange(count))
    assert caught.value.tried == tried
    assert f"passes of {' and of '.join(map(str, tried))} slices" in str(caught.value)


def test_the_libraries_below_torch_run_out_of_the_same_memory() -> None:
    seen: list[int] = []
    refused = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    in_halves(doubling(4, seen, refused), torch.arange(6))
    assert seen == [6, 3, 3]


def test_another_error_is_not_tried_again() -> None:
    seen: list[int] = []
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        in_halves(doubling(0, seen, RuntimeError("mat1 and mat2 shapes cannot be multiplied")), torch.arange(6))
    assert seen == [6]
