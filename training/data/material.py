"""What batches are made of: the latents of every image and the prompts, ready for any visit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.errors import PairsieveError
from training.config import TrainConfig
from training.data.batch import PairBatch
from training.data.buckets import Buckets, square
from training.data.draws import Draw, draw
from training.data.framing import Framing
from training.data.held import hold_latents
from training.data.looks import looks_of
from training.data.order import Order, Visit
from training.data.pairs import PairSource
from training.data.protocols import Features, Latents, Prompts, References
from training.data.rows import PairRows
from training.models.base import Conditioning, DiffusionModel


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
        """The examples of these visits, all of one bucket."""
        framings = self.framings(visits)
        return self.assembled(visits, *self.latents(self.images(visits), framings + framings))

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
            references = self.references(ids, numbers).to(device)
        if self.features is not None:
            features = self.features(prompts + prompts, self.images(visits)).to(device)
        return PairBatch(
            pairs=places,
            prompts=prompts,
            latents=latents.to(device),
            noise=noise.repeat(2, 1, 1, 1).to(device),
            times=self.model.times(uniform).repeat(2).to(device),
            uniform=uniform,
            conditioning=self._told(prompts, [each.dropped for each in draws]).twice(),
            geometry=geometry.to(device),
            preference=self.rows.preference[places].to(device),
            weight=self.weight[places].to(device),
            reference=references,
            features=features,
        )

    def _told(self, prompts: Sequence[str], dropped: Sequence[bool]) -> Conditioning:
        """What the denoiser is told: a caption, or what stands for none where it was dropped."""
        told = self.prompts(prompts).to(self.model.device)
        if not any(dropped):
            return told
        nothing = self.model.no_prompt(self.config.data.empty_prompt).to(self.model.device)
        chosen = torch.tensor(dropped, device=self.model.device)
        return Conditioning(
            {
                name: torch.where(chosen.view(-1, *[1] * (value.ndim - 1)), nothing.tensors[name], value)
                for name, value in told.tensors.items()
            }
        )


def load_material(
    source: PairSource,
    model: DiffusionModel,
    config: TrainConfig,
    *,
    on_images: Callable[[int, int], None] | None = None,
) -> Material:
    """Decode and encode each distinct image once. `on_images` hears (done, total).

    Raises PairsieveError where no pair has two readable images.
    """
    rows = source.rows.without_ties() if config.data.ties == "drop" else source.rows
    side = config.data.resolution or model.resolution
    buckets = square(len(rows), side)
    looks = looks_of(rows, buckets, config.data)
    latents, readable = hold_latents(source.pictures, looks, model, on_images=on_images)
    usable = _usable(rows, looks.places.of(rows.uids.to_pylist()), readable)
    kept = rows.at(usable)
    return Material(
        model=model,
        config=config,
        rows=kept,
        buckets=buckets.at(usable),
        # Of mean 1, so that the recipe's weights move effort between pairs and leave the learning rate alone.
        weight=(kept.weight.double() / kept.weight.double().mean()).float(),
        latents=latents,
        prompts=model.encode_prompts,
        skipped=len(rows) - len(usable),
    )


def _usable(rows: PairRows, places: NDArray[np.int64], readable: NDArray[np.bool_]) -> NDArray[np.int64]:
    found = (places >= 0) & readable[places]
    usable = np.flatnonzero(found[rows.winner] & found[rows.loser])
    if not len(usable):
        raise PairsieveError(
            f"no pair of subset {rows.ref} has two readable images",
            code="no-images",
            hint="check the sources of its dataset",
        )
    return usable
