"""Forward passes of policy and reference on a batch, and what they measured."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.data.batch import PairBatch
from training.losses.errors import denoising_error
from training.methods.objective import Objective, Passes
from training.models.base import DiffusionModel


@dataclass(frozen=True)
class Step:
    """What one optimiser step measured. Errors are means per latent element; `logit` is averaged over pairs."""

    step: int
    loss: float
    implicit_accuracy: float
    logit: float
    winner_error: float
    loser_error: float
    winner_change: float
    loser_change: float
    learning_rate: float
    gradient_norm: float


def forward(
    model: DiffusionModel, policy: nn.Module, reference: nn.Module | None, batch: PairBatch, objective: Objective
) -> Passes:
    """The errors of policy and reference on a batch."""
    noisy = model.noised(batch.latents, batch.noise, batch.times)
    target = model.target(batch.latents, batch.noise, batch.times)

    def errors(denoiser: nn.Module) -> Any:
        prediction = model.predict(denoiser, noisy, batch.times, batch.conditioning, batch.geometry)
        return denoising_error(prediction, target)

    anchors = batch.reference
    if objective.reference and anchors is None and reference is not None:
        with torch.no_grad():
            anchors = errors(reference)
    with nullcontext():
        mine = errors(policy)
    return Passes(mine, anchors, batch.preference, batch.weight)


def measured(passes: Passes, outcome: Any) -> torch.Tensor:
    """(loss, accuracy, logit, winner, loser, winner change, loser change)."""
    mine = passes.policy.detach()
    change = mine - passes.reference if passes.reference is not None else torch.full_like(mine, math.nan)
    winners = slice(0, len(mine) // 2)
    losers = slice(len(mine) // 2, None)
    return torch.tensor(
        [
            float(outcome.loss.detach()),
            outcome.implicit_accuracy,
            float(outcome.logit.mean()) if outcome.logit is not None else math.nan,
            float(mine[winners].mean()),
            float(mine[losers].mean()),
            float(change[winners].mean()),
            float(change[losers].mean()),
        ],
        dtype=torch.float64,
    )
