"""Tensors on their way from the CPU to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. Into CUDA it goes by pinned memory, in line behind what runs there: a plain copy would
    make the CPU wait until the device has nothing left to do."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
