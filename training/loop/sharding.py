"""Weights, gradients and the optimiser's state shared out over processes (FSDP2), for denoisers that no single device
can train: switched on by `accelerate launch --use_fsdp`."""

from __future__ import annotations

import os
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from ranking.errors import UsageError
from training.config import TrainConfig


def wants_shards(accelerator: Accelerator) -> bool:
    """Whether the launcher asked for it, and there is anyone to share with."""
    return accelerator.num_processes > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")


def check_shardable(config: TrainConfig) -> None:
    """Raise UsageError for what is not done with shards: adapters are small, an average would be a second model, and
    only AdamW's state has the weights' shape."""
    refused = {"lora": config.lora is not None, "ema": config.ema is not None, "optimiser": config.optimiser != "adamw"}
    for name, there in refused.items():
        if there:
            raise UsageError(
                f"{name} of this config does not go with sharded weights (FSDP)",
                hint="launch without --use_fsdp, or take optimiser: adamw, ema: null and lora: null",
            )


def shard(denoiser: Any, accelerator: Accelerator) -> nn.Module:
    """Shard a denoiser in place, block by block, so that one block's weights are whole at a time. All stay float32, and
    `autocast` rounds them as it does those of one process: policy and reference remain equal at the start."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    blocks = set(denoiser._no_split_modules or [])
    for module in reversed(list(denoiser.modules())):
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh)
    sharded: nn.Module = fully_shard(denoiser, mesh=mesh)
    return sharded


def is_sharded(denoiser: nn.Module) -> bool:
    """Whether `shard` made it what it is."""
    return isinstance(denoiser, FSDPModule)
