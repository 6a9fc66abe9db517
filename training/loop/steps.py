"""The optimiser steps of a run: forward passes, loss, update."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn

from ranking.errors import PairsieveError
from training.config import TrainConfig
from training.data.batch import PairBatch
from training.data.material import Material
from training.data.order import Order
from training.losses.errors import denoising_error
from training.methods.objective import Objective, Passes, make_objective
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


def train_steps(model: DiffusionModel, material: Material, config: TrainConfig) -> Iterator[Step]:
    """Train `model.denoiser` in place against a frozen copy of itself, yielding after each optimiser step.

    Winner and loser of a pair share their time and their noise, and pass in one forward of 2·batch latents.
    """
    objective = make_objective(config.method)
    reference = copy.deepcopy(model.denoiser).requires_grad_(False).eval() if objective.reference else None
    # No dropout layers are active in these networks; eval() on both keeps policy and reference equal at step 0.
    policy = model.denoiser.requires_grad_(True).eval()
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = get_scheduler("constant_with_warmup", optimiser, num_warmup_steps=config.warmup)
    order = Order(len(material), size=config.batch * config.accumulate, seed=config.seed)
    for number in range(config.steps):
        rate = optimiser.param_groups[0]["lr"]
        visits = order.at(number)
        sums = torch.zeros(7, dtype=torch.float64)
        for start in range(0, len(visits), config.batch):
            batch = material.batch(visits[start : start + config.batch])
            passes = forward(model, policy, reference, batch, objective)
            outcome = objective.loss(passes)
            (outcome.loss / config.accumulate).backward()
            sums += _measured(passes, outcome) / config.accumulate
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
        values = [float(value) for value in sums]
        if not math.isfinite(values[0]) or not math.isfinite(norm):
            raise PairsieveError(
                f"the loss is {values[0]} and its gradient {norm} at step {number}",
                code="training-diverged",
                hint="lower learning_rate or beta",
            )
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        yield Step(number, *values, learning_rate=rate, gradient_norm=norm)
    policy.requires_grad_(False)


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


def _measured(passes: Passes, outcome: Any) -> torch.Tensor:
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
