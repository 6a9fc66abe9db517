"""Floating-point operations of a training step, counted on a model without weights, and what devices are sold as."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.config import TrainConfig
from training.methods.needs import needs
from training.models.describe import Description, meta_denoiser
from training.models.lora import add_adapters
from training.models.weightless import denoised, encoding_operations, operations

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
    """Of one image: a forward pass of the denoiser, forward and backward pass of the policy, an encoding by the VAE."""

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
    denoiser = meta_denoiser(description.family, description.configs[description.part])
    forward = operations(lambda: denoised(description, denoiser, side=side))
    denoiser.requires_grad_(config.lora is None)
    if config.lora is not None:
        with torch.device("meta"):
            add_adapters(denoiser, config.lora, seed=0)
    both = operations(lambda: denoised(description, denoiser, side=side).sum().backward())
    return Flops(forward, both, encoding_operations(description, side=side))


def data_sheet(name: str) -> float | None:
    """FLOP/s that a device is sold with, by its name; None for one that is not known."""
    found = [rate for part, rate in _DENSE_BF16.items() if part in name]
    return found[0] * 1e12 if found else None
