"""Which way a base model's weights would have to go for pairs that nobody trained on, and which other pairs ask for the
same: influence by one directional derivative, without a gradient of each pair."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from training.data.material import Material
from training.data.order import Visit
from training.evaluation.implicit import draw_changes
from training.intervals import Floats
from training.losses.errors import denoising_error
from training.models.base import DiffusionModel
from training.models.lora import has_adapters

STEP = 0.1
"""How far, in lengths of the way that the run went, the weights are moved to and fro."""

_PAIRS_AT_ONCE = 8


def agreement(
    model: DiffusionModel,
    start: nn.Module,
    pairs: Material,
    held_out: Material,
    *,
    distance: float,
    draws: int,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """(N, draws) by how much each pair's margin grows per `distance` gone from `start` along v, in which the mean
    margin of `held_out` grows fastest: [m(θ + εv) − m(θ − εv)] / 2 STEP with ε = STEP · `distance`, float64.

    That is ∇m · v. A step of Diffusion-DPO on a pair moves the weights along its ∇m (the gradient of its loss is −β/2 ·
    σ(−z) · ∇m, with β/4 at the start), so ∇m · v is also what such a step does for the held-out pairs: TracIn (Pruthi
    et al. 2020, arXiv 2002.08484) at one checkpoint, written as a directional derivative. Both networks see the
    same draws, and the reference drops out.
    """
    way = _unit(held_out_gradient(model, start, held_out, draws=draws))
    ahead, back = (moved(start, way, by=sign * STEP * distance) for sign in (1, -1))
    changes, _ = draw_changes(model, ahead, back, pairs, draws=draws, progress=progress)
    grown: Floats = (changes[..., 1] - changes[..., 0]) / (2 * STEP)
    return grown


def held_out_gradient(
    model: DiffusionModel, denoiser: nn.Module, material: Material, *, draws: int
) -> dict[str, Tensor]:
    """The gradient of the mean margin of all pairs and draws in the weights that were trained, by name; the reference's
    errors do not depend on them. Leaves the denoiser frozen, as it was."""
    weights = trained_weights(denoiser)
    visits = [Visit(pair, number) for pair in range(len(material)) for number in range(draws)]
    for each in weights.values():
        each.requires_grad_(True)
    try:
        for begin in range(0, len(visits), _PAIRS_AT_ONCE):
            batch = material.batch(visits[begin : begin + _PAIRS_AT_ONCE])
            noisy = model.noised(batch.latents, batch.noise, batch.times)
            target = model.target(batch.latents, batch.noise, batch.times)
            with model.autocast():
                found = model.predict(denoiser, noisy, batch.times, batch.conditioning, batch.geometry)
            winner, loser = denoising_error(found, target).chunk(2)
            ((loser - winner).sum() / len(visits)).backward()
        return {name: each.grad for name, each in weights.items() if each.grad is not None}
    finally:
        for each in weights.values():
            each.requires_grad_(False)
            each.grad = None


def trained_weights(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """What training moves: adapters where there are any, else every weight."""
    adapted = has_adapters(denoiser)
    return {name: each for name, each in denoiser.named_parameters() if not adapted or "lora_" in name}


def where_it_began(model: DiffusionModel, policy: nn.Module) -> nn.Module:
    """The base model with the weights that `policy` was trained in: itself, or `policy` with adapters that add nothing,
    their second factor 0 as at the start. Their first factor is the trained one; a run does not keep what it drew."""
    start = copy.deepcopy(policy if has_adapters(policy) else model.denoiser)
    with torch.no_grad():
        for name, each in start.named_parameters():
            if "lora_B" in name:
                each.zero_()
    return start


def distance_between(start: nn.Module, policy: nn.Module) -> float:
    """The length of the way from one to the other in the weights that were trained."""
    ends = trained_weights(policy)
    apart = (ends[name].detach().double() - each.detach().double() for name, each in trained_weights(start).items())
    return math.sqrt(sum(float(each.square().sum()) for each in apart))


def moved(denoiser: nn.Module, way: Mapping[str, Tensor], *, by: float) -> nn.Module:
    """A copy whose weights lie further by so many times `way`."""
    copied = copy.deepcopy(denoiser)
    with torch.no_grad():
        for name, each in copied.named_parameters():
            if name in way:
                each.add_(way[name], alpha=by)
    return copied


def _unit(way: Mapping[str, Tensor]) -> dict[str, Tensor]:
    length = math.sqrt(sum(float(each.double().square().sum()) for each in way.values()))
    return {name: each / length for name, each in way.items()} if length else dict(way)
