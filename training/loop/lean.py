"""Layers that compute what they did, to the bit, and have autograd keep less for it: a frozen convolution needs no
input for its backward pass, and GEGLU nothing that follows from its projection."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.nn import functional as F


def keep_less(denoiser: nn.Module) -> None:
    """Have the frozen convolutions and the GEGLUs of a denoiser keep less, in place. What is trained must be known.

    Not for sharded weights, which are whole for a moment only; and compiled graphs choose themselves what to keep.
    """
    for layer in denoiser.modules():
        # The layer stays itself, with its weights, hooks and name; only its forward pass is another's.
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not _trains(layer):
            layer.__class__ = _FrozenConv2d
        elif type(layer) is GEGLU:
            layer.__class__ = _LeanGeglu


def _trains(layer: nn.Module) -> bool:
    return any(each.requires_grad for each in layer.parameters())


class _FrozenConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = _FrozenConvolution.apply(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        return out


class _FrozenConvolution(torch.autograd.Function):
    """autograd's own keeps the input, too, whether the weight is trained or not."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(weight)
        ctx.shape, ctx.dtype, ctx.how = given.shape, given.dtype, how
        return F.conv2d(given, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if not ctx.needs_input_grad[0]:
            return (None,) * 7
        (weight,) = ctx.saved_tensors
        # autocast may have rounded given and weight for the product, which the gradient then is of.
        given = torch.nn.grad.conv2d_input(ctx.shape, weight.to(gradient.dtype), gradient, *ctx.how)
        return (given.to(ctx.dtype), *(None,) * 6)


class _LeanGeglu(GEGLU):
    def forward(self, hidden_states: Tensor) -> Tensor:
        out: Tensor = _Gated.apply(self.proj(hidden_states))
        return out


class _Gated(torch.autograd.Function):
    """h · gelu(g) of (h, g) side by side: gelu(g) is computed again instead of kept."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(projected)
        hidden, gate = projected.chunk(2, dim=-1)
        return hidden * F.gelu(gate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (projected,) = ctx.saved_tensors
        hidden, gate = projected.chunk(2, dim=-1)
        through = torch.ops.aten.gelu_backward(gradient * hidden, gate)
        return torch.cat([gradient * F.gelu(gate), through], dim=-1)
