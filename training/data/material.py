"""What batches are made of: the latents of every image and the prompts, ready for any visit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.config import TrainConfig
from training.data.batch import PairBatch
from training.data.buckets import Buckets
from training.data.draws import Draw, draw
from training.data.framing import Framing
from training.data.fresh import FreshLatents
from training.data.order import Order, Visit
from training.data.protocols import Features, Latents, Prompts, References
from training.data.rows import PairRows
from training.models.base import Conditioning, DiffusionModel
from training.transfer import moved


@dataclass(frozen=True)
class Material:
    """The usable pairs (`rows`) and what their batches are put together from. `weight` (N,) has mean 1. `skipped`
    counts pairs with an image that could not be read."""

    model: DiffusionModel
    config: TrainConfig
    rows: PairRows
    buckets: Buckets
    weight: Tensor
    latents: Latents
    prompts: Prompts
    references: References | None = None
    features: Features | None = None
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, *, size: int, spread: bool = False) -> Order:
        """The order of these pairs in steps of `size`; `spread` over prompts for methods that compare pairs."""
        return Order(
            len(self),
            size=size,
            seed=self.config.seed,
            buckets=self.buckets.of if len(self.buckets.sizes) > 1 else None,
            prompts=self.rows.prompt if spread else None,
        )

    def number(self, visit: Visit) -> int:
        """Which of its pair's draws a visit is: itself, or modulo K where K draws are fixed."""
        fixed = self.config.cache.reference_draws
        return visit.number if fixed is None else visit.number % fixed

    def draw(self, visit: Visit) -> Draw:
        """What chance gives a visit."""
        (pair_id,) = self.rows.ids_of([visit.pair])
        return draw(self.config.seed, pair_id, self.number(visit), self.config.data)

    def framings(self, visits: Sequence[Visit]) -> list[Framing]:
        """How the pictures of these visits are framed; a winner as its loser."""
        return [self.draw(visit).framing(self.buckets.sizes[self.buckets.of[visit.pair]]) for visit in visits]

    def batch(self, visits: Sequence[Visit]) -> PairBatch:
        """The examples of these visits, all of one bucket. A pair with a picture that can be read no more, though it
        could when the run began, weighs nothing."""
        framings = self.framings(visits)
        uids = self.images(visits)
        if not isinstance(self.latents, FreshLatents):
            return self.assembled(visits, *self.latents(uids, framings + framings))
        seen = self.latents.seen(uids, framings + framings)
        batch = self.assembled(visits, self.latents.encoded(seen), seen.geometry)
        there = seen.there[: len(visits)] & seen.there[len(visits) :]
        return replace(batch, weight=batch.weight * there.to(batch.weight))

    def follow(self, passes: Iterable[Sequence[Visit]]) -> None:
        """Say for which visits `batch` will be called from now on, in this order, so that processes (`data.workers`)
        can read and frame their pictures ahead. Changes nothing where latents are kept."""
        if isinstance(self.latents, FreshLatents):
            self.latents.follow((self.images(visits), self.framings(visits) * 2) for visits in passes)

    def images(self, visits: Sequence[Visit]) -> list[str]:
        """The uids of the winners, then of the losers."""
        return self.rows.images_of([visit.pair for visit in visits])

    def assembled(self, visits: Sequence[Visit], latents: Tensor, geometry: Tensor) -> PairBatch:
        """The same where the latents (2B, C, h, w) and geometry (2B, 6) are there already."""
        places = torch.tensor([visit.pair for visit in visits])
        draws = [self.draw(visit) for visit in visits]
        noise = torch.stack([each.noise(tuple(latents.shape[1:])) for each in draws])
        uniform = torch.tensor([each.time for each in draws], dtype=torch.float64)
        prompts = self.rows.prompts_of([visit.pair for visit in visits])
        device = self.model.device
        references = features = None
        if self.references is not None:
            ids, numbers = self.rows.ids_of(places.tolist()), [self.number(visit) for visit in visits]
            references = moved(self.references(ids, numbers), device)
        if self.features is not None:
            features = moved(self.features(prompts + prompts, self.images(visits)), device)
        return PairBatch(
            pairs=places,
            prompts=prompts,
            latents=moved(latents, device),
            noise=moved(noise, device).repeat(2, 1, 1, 1),
            times=moved(self.model.times(uniform).repeat(2), device),
            uniform=uniform,
            conditioning=self._told(prompts, [each.dropped for each in draws]).twice(),
            geometry=moved(geometry, device),
            preference=moved(self.rows.preference[places], device),
            weight=moved(self.weight[places], device),
            reference=references,
            features=features,
        )

    def _told(self, prompts: Sequence[str], dropped: Sequence[bool]) -> Conditioning:
        """What the denoiser is told: a caption, or what stands for none where it was dropped."""
        told = self._states(prompts)
        if not any(dropped):
            return told
        nothing = self._states([""])
        chosen = moved(torch.tensor(dropped), self.model.device)
        zeros = self.model.stands_for_no_prompt(self.config.data.empty_prompt) == "zeros"
        return Conditioning(
            {
                name: torch.where(
                    chosen.view(-1, *[1] * (value.ndim - 1)),
                    torch.zeros_like(value) if zeros else nothing.tensors[name],
                    value,
                )
                for name, value in told.tensors.items()
            }
        )

    def _states(self, prompts: Sequence[str]) -> Conditioning:
        found = self.prompts(prompts).tensors
        return Conditioning({name: moved(value, self.model.device) for name, value in found.items()})
