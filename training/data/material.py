"""What batches are made of: the latents of every image and the prompts, ready for any visit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ranking.errors import PairsieveError
from ranking.images import ImageError, decode_rgb
from training.config import TrainConfig
from training.data.batch import PairBatch
from training.data.draws import draw
from training.data.order import Visit
from training.data.pairs import PairRows, PairSource
from training.data.pictures import frame
from training.models.base import Conditioning, DiffusionModel

_ENCODE_BATCH = 64


@dataclass(frozen=True)
class Material:
    """The usable pairs (`rows`) with latents of their distinct images, float32 (M, C, h, w), places in them, and the
    geometry of each. `skipped` counts pairs with an image that could not be read. `weight` has mean 1."""

    model: DiffusionModel
    config: TrainConfig
    rows: PairRows
    latents: Tensor
    geometry: Tensor
    winner: Tensor
    loser: Tensor
    weight: Tensor
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, visits: Sequence[Visit]) -> PairBatch:
        """The examples of these visits."""
        data = self.config.data
        places = torch.tensor([visit.pair for visit in visits])
        draws = [
            draw(
                self.config.seed,
                self.rows.pair_ids[visit.pair],
                visit.number,
                prompt_dropout=data.prompt_dropout,
                flip=data.flip,
            )
            for visit in visits
        ]
        images = torch.cat([self.winner[places], self.loser[places]])
        latents = self.latents[images]
        noise = torch.stack([each.noise(tuple(latents.shape[1:])) for each in draws])
        uniform = torch.tensor([each.time for each in draws], dtype=torch.float64)
        times = self.model.times(uniform)
        prompts = [self.rows.prompts[visit.pair] for visit in visits]
        device = self.model.device
        return PairBatch(
            pairs=places,
            prompts=prompts,
            latents=latents.to(device),
            noise=noise.repeat(2, 1, 1, 1).to(device),
            times=times.repeat(2).to(device),
            uniform=uniform,
            conditioning=self._told(["" if d.dropped else p for d, p in zip(draws, prompts, strict=True)]).twice(),
            geometry=self.geometry[images].to(device),
            preference=self.rows.preference[places].to(device),
            weight=self.weight[places].to(device),
        )

    def _told(self, prompts: list[str]) -> Conditioning:
        return self.model.encode_prompts(prompts)


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
    rows = source.rows
    side = config.data.resolution or model.resolution
    uids = {*rows.winners, *rows.losers}
    found = source.pictures(uids)
    place: dict[str, int] = {}
    latents: list[Tensor] = []
    geometry: list[tuple[int, ...]] = []
    done = 0
    while batch := list(islice(found, _ENCODE_BATCH)):
        framed = []
        for uid, data in batch:
            try:
                framed.append(frame(decode_rgb(data), (side, side)))
            except ImageError:
                continue
            place[uid] = len(place)
        if framed:
            latents.append(model.encode_pixels(torch.stack([each.pixels for each in framed])).cpu())
            geometry += [each.geometry for each in framed]
        done += len(batch)
        if on_images:
            on_images(done, len(uids))
    usable = [i for i in range(len(rows)) if rows.winners[i] in place and rows.losers[i] in place]
    if not usable:
        raise PairsieveError(
            f"no pair of subset {rows.ref} has two readable images",
            code="no-images",
            hint="check the sources of its dataset",
        )
    kept = rows.at(usable)
    return Material(
        model=model,
        config=config,
        rows=kept,
        latents=torch.cat(latents),
        geometry=torch.tensor(geometry),
        winner=torch.tensor([place[uid] for uid in kept.winners]),
        loser=torch.tensor([place[uid] for uid in kept.losers]),
        # Of mean 1, so that the recipe's weights move effort between pairs and leave the learning rate alone.
        weight=(kept.weight.double() / kept.weight.double().mean()).float(),
        skipped=len(rows) - len(usable),
    )
