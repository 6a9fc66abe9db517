"""The forward pass of policy and reference over a batch of pairs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from training.data.batch import PairBatch
from training.losses.errors import denoising_error
from training.methods.objective import Objective, Passes
from training.models.base import DiffusionModel
from training.precision import Precision, autocast


def forward(
    model: DiffusionModel,
    policy: nn.Module,
    reference: AbstractContextManager[nn.Module] | None,
    batch: PairBatch,
    *,
    objective: Objective,
    precision: Precision,
) -> Passes:
    """What both say of a batch: errors of 2B samples in one pass of each, or of B winners where the objective wants no
    losers. The reference runs first and without a graph, and not at all where its errors are cached; it is a context,
    since a LoRA's reference is the policy itself for a moment.

    Both predict in the same precision; errors are float32.
    """
    if not objective.losers:
        batch = winners(batch)
    noisy = model.noised(batch.latents, batch.noise, batch.times)
    target = model.target(batch.latents, batch.noise, batch.times)

    def predicted(denoiser: nn.Module) -> Tensor:
        with autocast(precision, model.device):
            return model.predict(denoiser, noisy, batch.times, batch.conditioning, batch.geometry)

    anchors, anchor_prediction = batch.reference, None
    if objective.reference and (anchors is None or objective.reference_predictions):
        if reference is None:
            raise ValueError("this objective needs the reference's errors, and neither it nor its errors are there")
        with torch.no_grad(), reference as frozen:
            anchor_prediction = predicted(frozen)
            anchors = denoising_error(anchor_prediction, target)
    prediction = predicted(policy)
    return Passes(
        policy=denoising_error(prediction, target),
        reference=anchors if objective.reference else None,
        preference=batch.preference,
        weight=batch.weight,
        prediction=prediction,
        target=target,
        reference_prediction=anchor_prediction,
        features=batch.features,
    )


def errors_of(model: DiffusionModel, denoiser: nn.Module, batch: PairBatch, *, precision: Precision) -> Tensor:
    """The errors of one denoiser, float32 (2B,), without a graph: of the reference what `forward` finds."""
    noisy = model.noised(batch.latents, batch.noise, batch.times)
    target = model.target(batch.latents, batch.noise, batch.times)
    with torch.no_grad(), autocast(precision, model.device):
        prediction = model.predict(denoiser, noisy, batch.times, batch.conditioning, batch.geometry)
    return denoising_error(prediction, target)


def winners(batch: PairBatch) -> PairBatch:
    """The winners alone: N = B samples in place of 2B."""
    count = len(batch)
    halves = ("latents", "noise", "times", "conditioning", "geometry")
    return replace(
        batch,
        **{name: getattr(batch, name)[:count] for name in halves},
        reference=None if batch.reference is None else batch.reference[:count],
        features=None if batch.features is None else batch.features[:count],
    )
