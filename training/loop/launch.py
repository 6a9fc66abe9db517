"""The processes of a training, as `accelerate launch` or torchrun started them, and what they tell each other."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from torch import Tensor


def make_accelerator(device: str) -> Accelerator:
    """Joins the other processes if there are any. Precision, accumulation and where tensors live are the loop's own
    business, so nothing of the launcher's configuration changes what a run computes."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    # Alone, the device is the caller's; the process's first accelerator would else decide for all that follow.
    return Accelerator(mixed_precision="no", cpu=device == "cpu" and not alone, device_placement=False)


def device_of(accelerator: Accelerator, device: str) -> str:
    """Where this process's model belongs: where the caller said, or on its own accelerator of several."""
    return device if accelerator.num_processes == 1 else str(accelerator.device)


def summed(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum over processes, on each."""
    if accelerator.num_processes == 1:
        return tensor
    total: Tensor = accelerator.reduce(tensor, reduction="sum")
    return total


def gathered(tensor: Tensor, accelerator: Accelerator) -> list[Tensor]:
    """Each process's tensor, on each; their first axes may differ in length."""
    if accelerator.num_processes == 1:
        return [tensor]
    sizes: list[int] = accelerator.gather(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    padded = torch.cat([tensor, tensor.new_zeros((max(sizes) - len(tensor), *tensor.shape[1:]))])
    rows: Tensor = accelerator.gather(padded)
    return [each[:size] for each, size in zip(rows.chunk(len(sizes)), sizes, strict=True)]
