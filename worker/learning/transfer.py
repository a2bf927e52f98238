"""Tensors on their way from the host to a device."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Give a tensor of the host on `device`, without waiting for a GPU: the copy waits its turn behind its kernels."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory the host would wait
