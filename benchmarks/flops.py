"""Floating-point operations of a training step, counted on a model without weights, and what devices are sold as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import TrainConfig
from training.loop.activations import run_without_weights
from training.methods.needs import needs
from training.models.describe import Description, meta_denoiser
from training.models.lora import add_adapters

_DENSE_BF16 = {
    "H200": 989.4,
    "H100 NVL": 835.5,
    "H100 PCIe": 756.5,
    "H100": 989.4,
    "A100": 312.0,
    "A10": 125.0,
    "L40S": 362.05,
    "L4": 121.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
"""TFLOP/s of dense bf16 products with float32 sums by NVIDIA's data sheets; names are tried in this order."""


@dataclass(frozen=True)
class Flops:
    """Of one image: a forward pass of the denoiser, forward and backward pass of the policy, one encoding by the VAE.
    Products alone count, a multiplication and an addition as two; attention as its plain products."""

    forward: int
    both: int
    encoding: int

    def of_pair(self, config: TrainConfig) -> int:
        """What a pair of a step needs. A pass that gradient checkpointing runs again is not counted, nor are text
        encoders, so the share of a device's peak is of useful work alone."""
        wants = needs(config.method)
        runs = wants.reference and config.cache.reference_draws is None
        images = 2 if wants.losers else 1
        return images * (self.both + self.forward * runs + self.encoding * (not config.cache.latents))


def flops_of(config: TrainConfig, description: Description, *, side: int) -> Flops:
    """Counted on the meta device, at `side` pixels."""
    from diffusers import AutoencoderKL

    denoiser = meta_denoiser(description.family, description.configs[description.part])
    forward = _counted(lambda: _denoised(description, denoiser, side))
    denoiser.requires_grad_(config.lora is None)
    if config.lora is not None:
        with torch.device("meta"):
            add_adapters(denoiser, config.lora, seed=0)
    both = _counted(lambda: _denoised(description, denoiser, side).sum().backward())
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(dict(description.configs["vae"])).requires_grad_(False)
        pixels = torch.empty((1, 3, side, side))
    return Flops(forward, both, _counted(lambda: vae.encode(pixels)))


def data_sheet(name: str) -> float | None:
    """FLOP/s that a device is sold with, by its name; None for one that is not known."""
    found = [rate for part, rate in _DENSE_BF16.items() if part in name]
    return found[0] * 1e12 if found else None


def _denoised(description: Description, denoiser: Any, side: int) -> Any:
    latents = torch.empty((1, *description.latent_shape(side)), device="meta")
    told = {name: torch.empty((1, *shape), device="meta") for name, shape in description.conditioning.items()}
    return run_without_weights(description, denoiser, latents, told)


def _counted(work: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
