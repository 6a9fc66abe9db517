"""Ways to make a denoiser quicker or smaller while it trains, for any family; the names of its weights stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ranking.errors import UnknownNameError

REPEATED = ("BasicTransformerBlock", "JointTransformerBlock")
"""The blocks that UNets and SD3's transformer consist of: compiled once, used at every depth."""

_KERNELS = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}


def recompute_activations(denoiser: Any) -> None:
    """Gradient checkpointing: blocks run once more in the backward pass in place of being remembered, in eval mode too.
    What a forward pass depended on, such as adapters being on, must still be so in the backward pass."""
    denoiser.enable_gradient_checkpointing()


def compile_blocks(denoiser: nn.Module, **options: Any) -> int:
    """Compile the repeated blocks in place (regional compilation) and return how many there are; the first forward pass
    pays for it. diffusers' own `compile_repeated_blocks` refuses SD3. `options` are those of torch.compile."""
    blocks = [module for module in denoiser.modules() if type(module).__name__ in REPEATED]
    for block in blocks:
        block.compile(**options)
    return len(blocks)


def channels_last(denoiser: nn.Module) -> None:
    """Lay convolutions' weights out as tensor cores like them; of no use to transformers, and no harm."""
    denoiser.to(memory_format=torch.channels_last)


@contextmanager
def attention_by(kernel: str | None) -> Iterator[None]:
    """Attention by one of torch's kernels (flash, efficient, cudnn, math), or by whichever it chooses. diffusers'
    `set_attention_backend` does not reach the processors of these families, which call torch directly.

    Raises UnknownNameError for another name.
    """
    if kernel is None:
        yield
        return
    if kernel not in _KERNELS:
        raise UnknownNameError.among("attention kernel", kernel, _KERNELS)
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(getattr(SDPBackend, _KERNELS[kernel])):
        yield
