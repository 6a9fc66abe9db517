"""What forward passes compute in, the same for policy and reference: at the start their errors must be equal, since
their difference times β is the logit."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn

Precision = Literal["fp32", "bf16", "fp16"]
"""The precisions that a config may name."""

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_CAST_BY_AUTOCAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context of every forward pass of a denoiser: weights stay as they are, products are taken in half precision
    and sums where it matters in float32. Nothing for fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=DTYPES[precision])


def make_reference(denoiser: nn.Module, precision: Precision) -> nn.Module:
    """A copy to be kept as the reference. It runs inside `autocast` and `torch.no_grad()` only, and nothing trains it.

    Its weights say that they require a gradient, as the policy's do: torch chooses between kernels by that
    (`should_fold` in its LinearAlgebra.cpp), without a graph as well, and in half precision they round differently.
    """
    reference = copy.deepcopy(denoiser).requires_grad_(False).eval()
    keep_in_half(reference, precision)
    return reference.requires_grad_(True)


def keep_in_half(module: nn.Module, precision: Precision) -> None:
    """Keep those frozen weights in half precision, in place, that `autocast` rounds to it at every use anyway: half the
    memory, and not a bit of difference. The module then runs inside `autocast` only."""
    if precision == "fp32":
        return
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if isinstance(layer, _CAST_BY_AUTOCAST) and not any(each.requires_grad for each in own):
            layer.to(DTYPES[precision])


def make_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """fp16's scaler of losses, without effect in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def allow_tf32(allowed: bool) -> None:
    """Let products of float32 on CUDA take TF32's 10 bits of mantissa, or forbid it. The switch is the process's."""
    kind = "tf32" if allowed else "ieee"
    # By operator, as the scorers' runtime does: torch refuses to read a mix of these and the older switches.
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.conv.fp32_precision = kind
