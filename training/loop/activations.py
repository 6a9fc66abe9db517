"""How much memory the backward pass of a denoiser needs: counted on a denoiser without weights, tensor by tensor as
autograd would keep them, so for any model and resolution and before anything is loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from training.config import TrainConfig
from training.loop.lean import keep_less
from training.models.describe import Description
from training.models.weightless import denoised
from training.precision import DTYPES


class _Fused(TorchFunctionMode):
    """Attention as the fused kernels do it, which keep no matrix of weights: meta tensors would take the plain one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _Attention.apply(*args[:3], *((kwargs or {}).get(name) for name in ("query", "key", "value")))
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor | None) -> Tensor:  # type: ignore[override]
        query, key, value = (each for each in given if each is not None)
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out


def activations_of(config: TrainConfig, description: Description, denoiser: Any, *, images: int, side: int) -> int:
    """Bytes that autograd keeps of a forward pass over so many images of `side` pixels. `denoiser` is on the meta
    device and is changed. One image is counted, and times `images`. Checkpointed blocks count what they are given, and
    beside it what one of them keeps when it runs again, which is not known and taken as a tenth of all."""
    from training.models.lora import add_adapters

    dtype = DTYPES[config.precision]
    torch.nn.Module.to(denoiser, dtype)  # not the model's own, which would speak of modules that are not here
    denoiser.requires_grad_(config.lora is None)
    if config.lora is not None:
        with torch.device("meta"):
            add_adapters(denoiser, config.lora, seed=0)
    if not config.compile:
        keep_less(denoiser)
    # Autocast keeps the weights that are trained in half precision, too, till the pass is over.
    copies = sum(each.numel() * each.element_size() for each in denoiser.parameters() if each.requires_grad)
    copies = 0 if config.precision == "fp32" else copies
    everything = _kept(description, denoiser, dtype=dtype, side=side)
    if not config.gradient_checkpointing:
        return copies + images * everything
    denoiser.enable_gradient_checkpointing()
    denoiser.train()
    return copies + images * (_kept(description, denoiser, dtype=dtype, side=side) + everything // 10)


def _kept(description: Description, denoiser: Any, *, dtype: torch.dtype, side: int) -> int:
    weights = {id(each) for each in denoiser.parameters()}
    seen: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights:
            alive.append(tensor)  # so that no address is used twice
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()  # a view keeps all of it
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), _Fused():
        denoised(description, denoiser, side=side, dtype=dtype, graded=True)
    return sum(seen.values())
