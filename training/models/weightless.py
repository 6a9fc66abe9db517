"""Passes of models without weights, on the meta device: nothing is computed, but shapes are known, and operations can
be counted before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from training.models.describe import Description, meta_vae


def denoised(
    description: Description, denoiser: Any, *, side: int, dtype: torch.dtype = torch.float32, graded: bool = False
) -> Tensor:
    """The prediction of a denoiser on the meta device for one image of `side` pixels; `graded`: whose latents require a
    gradient."""
    made = {"device": "meta", "dtype": dtype}
    latents = torch.empty((1, *description.latent_shape(side)), **made, requires_grad=graded)
    told = {name: torch.empty((1, *shape), **made) for name, shape in description.conditioning.items()}
    times = torch.empty((1,), device="meta", dtype=torch.float32)
    states = told["states"]
    if description.family == "sd3":
        wide = denoiser.config.joint_attention_dim
        tokens = states.shape[1] + (told["t5"].shape[1] if "t5" in told else 256)
        together = torch.empty((1, tokens, wide), device="meta", dtype=states.dtype)
        out: Any = denoiser(
            latents,
            timestep=times,
            encoder_hidden_states=together,
            pooled_projections=told["pooled"],
            return_dict=False,
        )
        return out[0]
    more = {}
    if description.family == "sdxl":
        ids = torch.empty((1, 6), device="meta", dtype=states.dtype)
        more = {"added_cond_kwargs": {"text_embeds": told["pooled"], "time_ids": ids}}
    out = denoiser(latents, times, states, **more, return_dict=False)
    return out[0]


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of what `work` runs: products alone count, a multiplication and an addition as two, and
    attention as its plain products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def encoding_operations(description: Description, *, side: int) -> int:
    """Those of the VAE's encoder for one image."""
    vae = meta_vae(description.configs["vae"]).requires_grad_(False)
    pixels = torch.empty((1, 3, side, side), device="meta")
    return operations(lambda: vae.encode(pixels))


def decoding_operations(description: Description, *, side: int) -> int:
    """Those of the VAE's decoder for one image."""
    vae = meta_vae(description.configs["vae"]).requires_grad_(False)
    latents = torch.empty((1, *description.latent_shape(side)), device="meta")
    return operations(lambda: vae.decode(latents))
