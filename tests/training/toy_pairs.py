"""A problem small enough for every method: latents of 8 numbers, winners around one vector a prompt and losers around
another, and a network that denoises them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from training.losses.errors import denoising_error
from training.methods.objective import Objective, Passes

PROMPTS, SIZE = 4, 8


class Network(nn.Module):
    """Noise from a noisy latent (N, 1, 2, 4), its time in [0, 1] and its prompt's number."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts = nn.Embedding(PROMPTS, 8)
        self.layers = nn.Sequential(nn.Linear(SIZE + 9, 48), nn.SiLU(), nn.Linear(48, SIZE))

    def forward(self, noisy: Tensor, times: Tensor, prompts: Tensor) -> Tensor:
        told: Tensor = self.layers(torch.cat([noisy.flatten(1), times[:, None], self.prompts(prompts)], dim=1))
        return told.view(-1, 1, 2, 4)


@dataclass(frozen=True)
class Batch:
    """Pairs with what was drawn for them: winners first."""

    latents: Tensor
    noise: Tensor
    times: Tensor
    prompts: Tensor
    preference: Tensor
    weight: Tensor
    features: Tensor

    def at(self, pairs: Tensor | slice) -> Batch:
        """Some of the pairs."""

        def of_both(tensor: Tensor) -> Tensor:
            return torch.cat([half[pairs] for half in tensor.chunk(2)])

        return Batch(
            *(of_both(tensor) for tensor in (self.latents, self.noise, self.times, self.prompts)),
            self.preference[pairs],
            self.weight[pairs],
            of_both(self.features),
        )


def batch(count: int, seed: int, *, apart: float = 1.0) -> Batch:
    """`count` pairs whose winners and losers lie `apart` from each other."""
    world = torch.Generator().manual_seed(99)
    middles, ways = torch.randn(PROMPTS, SIZE, generator=world), torch.randn(PROMPTS, SIZE, generator=world)
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.randint(PROMPTS, (count,), generator=generator)
    sides = [middles[prompts] + sign * apart * ways[prompts] / 2 for sign in (1, -1)]
    latents = torch.cat(sides) + 0.1 * torch.randn(2 * count, SIZE, generator=generator)
    noise = torch.randn(count, SIZE, generator=generator).repeat(2, 1)
    image, text = normalize(latents, dim=1), normalize(middles[prompts], dim=1).repeat(2, 1)
    return Batch(
        latents=latents.view(-1, 1, 2, 4),
        noise=noise.view(-1, 1, 2, 4),
        times=torch.rand(count, generator=generator).repeat(2),
        prompts=prompts.repeat(2),
        preference=torch.ones(count),
        weight=torch.ones(count),
        features=torch.stack([image, text], dim=1),
    )


def passes(objective: Objective, policy: nn.Module, reference: nn.Module, given: Batch) -> Passes:
    """What the loop would hand to an objective."""
    if not objective.losers:
        count = len(given.weight)
        halved = (tensor[:count] for tensor in (given.latents, given.noise, given.times, given.prompts))
        given = Batch(*halved, given.preference, given.weight, given.features[:count])
    angle = given.times.view(-1, 1, 1, 1) * torch.pi / 2
    noisy = angle.cos() * given.latents + angle.sin() * given.noise
    with torch.no_grad():
        theirs = reference(noisy, given.times, given.prompts)
    mine = policy(noisy, given.times, given.prompts)
    return Passes(
        policy=denoising_error(mine, given.noise),
        reference=denoising_error(theirs, given.noise) if objective.reference else None,
        preference=given.preference,
        weight=given.weight,
        prediction=mine if objective.predictions else None,
        target=given.noise if objective.predictions else None,
        reference_prediction=theirs if objective.reference_predictions else None,
        features=given.features if objective.features else None,
    )


def pretrained(seed: int = 0, steps: int = 400) -> Network:
    """A network that denoises winners and losers alike."""
    torch.manual_seed(seed)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(steps):
        given = batch(64, 1000 + step)
        angle = given.times.view(-1, 1, 1, 1) * torch.pi / 2
        noisy = angle.cos() * given.latents + angle.sin() * given.noise
        denoising_error(network(noisy, given.times, given.prompts), given.noise).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return network


def tuned(
    objective: Objective, reference: Network, *, steps: int = 60, rate: float = 2e-3, pairs: Callable[[int], Batch]
) -> Network:
    """The network after so many steps of the objective from its reference."""
    policy = copy.deepcopy(reference)
    optimiser = torch.optim.Adam(policy.parameters(), lr=rate)
    for step in range(steps):
        objective.loss(passes(objective, policy, reference, pairs(step))).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return policy
