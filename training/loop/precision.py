"""What forward passes compute in, the same for policy and reference: at the start their errors must be equal, since
their difference times β is the logit."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

Precision = Literal["fp32", "bf16", "fp16"]

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CAST_BY_AUTOCAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context of every forward pass of a denoiser: weights stay as they are, products are taken in half precision
    and sums where it matters in float32. Nothing for fp32."""
    dtype = _HALVES.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


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
    dtype = _HALVES.get(precision)
    if dtype is None:
        return
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if isinstance(layer, _CAST_BY_AUTOCAST) and not any(each.requires_grad for each in own):
            layer.to(dtype)


def make_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """fp16's scaler of losses, without effect in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def allow_tf32(allowed: bool) -> None:
    """Let products of float32 on CUDA take TF32's 10 bits of mantissa, or forbid it. The switch is the process's."""
    kind = "tf32" if allowed else "ieee"
    # By operator, as the scorers' runtime does: torch refuses to read a mix of these and the older switches.
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.conv.fp32_precision = kind


def compile_blocks(*denoisers: Any) -> None:
    """Compile the blocks that a denoiser repeats, each class of them once for all its places, which takes a fraction of
    the time of compiling the whole (regional compilation)."""
    # A UNet's blocks differ in width, and run with and without a graph: each combination is a graph of its own.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    for denoiser in denoisers:
        names = set() if denoiser is None else set(denoiser._repeated_blocks or denoiser._no_split_modules)
        for module in () if denoiser is None else denoiser.modules():
            if type(module).__name__ in names:
                module.compile()
