"""An exponential moving average of the weights while they are trained."""

from __future__ import annotations

import copy

import torch
from torch import nn

from training.blocks import EmaConfig


class Average:
    """`module` is the averaged denoiser: a copy whose frozen weights are the policy's own, so that an average of
    adapters costs no more than they do. `updates` counts how often it followed."""

    def __init__(self, policy: nn.Module, config: EmaConfig) -> None:
        frozen = {id(each): each for each in policy.parameters() if not each.requires_grad}
        self.module: nn.Module = copy.deepcopy(policy, frozen).requires_grad_(False).eval()
        self.config = config
        self.updates = 0
        theirs = dict(policy.named_parameters())
        names = [name for name, each in theirs.items() if each.requires_grad]
        mine = dict(self.module.named_parameters())
        self.weights = {name: mine[name] for name in names}
        self._followed = [theirs[name] for name in names]

    def follow(self, step: int) -> None:
        """After optimiser step `step`, from 0: a ← d·a + (1 − d)·w every so many steps, in one kernel for all."""
        if (step + 1) % self.config.every:
            return
        self.updates += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(self.weights.values()), self._followed, 1 - self.decay)

    @property
    def decay(self) -> float:
        """Of the latest update, the n-th from 0: min(decay, (1 + n) / (10 + n)) while it warms up, and 0 for the first,
        as diffusers' EMAModel has it; the config's without warm-up."""
        if not self.config.warmup:
            return self.config.decay
        past = self.updates - 1
        return min(self.config.decay, (1 + past) / (10 + past)) if past > 0 else 0.0
