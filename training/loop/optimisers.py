"""Optimisers by name, and the learning rate as a function of the step alone, so that it needs no state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ranking.errors import UsageError
from training.config import TrainConfig


def make_optimiser(parameters: Sequence[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The config's optimiser over these parameters. Raises UsageError where the package of 8-bit AdamW is missing."""
    rate, decay = config.peak_learning_rate, config.weight_decay
    if config.optimiser == "adamw":
        # One kernel for all tensors where there is one; a loop over a UNet's 700 costs more than the arithmetic.
        fused = all(each.device.type in ("cpu", "cuda") for each in parameters)
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=fused or None)
    if config.optimiser == "adamw-8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise UsageError(
                "the optimiser adamw-8bit needs the package bitsandbytes, which is not installed",
                hint="pip install bitsandbytes, or take optimiser: adamw",
            ) from error
        eight_bit: torch.optim.Optimizer = AdamW8bit(parameters, lr=rate, weight_decay=decay)
        return eight_bit
    from transformers.optimization import Adafactor

    # As the authors of Diffusion-DPO train SDXL: a set rate, updates clipped at 1 in root mean square.
    return Adafactor(
        parameters, lr=rate, weight_decay=decay, scale_parameter=False, relative_step=False, clip_threshold=1.0
    )


def clips_itself(config: TrainConfig) -> bool:
    """Adafactor clips its updates; clipping its gradients beside that would change nothing but their unit."""
    return config.optimiser == "adafactor"


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step, from 0: rising in a line over `warmup` steps, of which the first is not 0, then constant,
    down in a line, or down half a cosine, towards 0 after the last step."""
    if step < config.warmup:
        return config.peak_learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    if config.schedule == "linear":
        return config.peak_learning_rate * max(0.0, 1 - done)
    if config.schedule == "cosine":
        return config.peak_learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.peak_learning_rate
