"""The pairs of a subset as latents and prompts, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ranking.datasets import get_dataset
from ranking.errors import PairsieveError
from ranking.flags.copies import without_taken_down
from ranking.images import ImageError, ImageReader, decode_rgb
from ranking.images.fetch import url_fetcher
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs
from training.models.sd import StableDiffusion

_ENCODE_BATCH = 64


@dataclass(frozen=True)
class Pairs:
    """N pairs ready to train on: latents of the distinct images, float32 (M, C, h, w), and indices into them.

    `skipped` counts pairs of the subset with an image that could not be read, `taken_down` those with one that somebody
    took down since, if only a moment ago. `preference`, the probability that the winner is the better image, and
    `weight`, of mean 1 over these pairs, are float32 (N,); None where all of them are 1.
    """

    latents: Tensor
    winner: Tensor
    loser: Tensor
    prompts: list[str]
    skipped: int
    taken_down: int = 0
    preference: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompts)


def load_pairs(
    store: Store,
    subset: Subset,
    model: StableDiffusion,
    resolution: int,
    *,
    on_images: Callable[[int, int], None] | None = None,
) -> Pairs:
    """Decode and encode each distinct image of the subset once. `on_images` hears (done, total).

    Raises PairsieveError where no pair has two readable images.
    """
    dataset = get_dataset(store, subset.dataset)
    table, taken_down = without_taken_down(store, dataset, subset_pairs(store, subset))
    rows = list(
        zip(
            table["winner_uid"].to_pylist(),
            table["loser_uid"].to_pylist(),
            table["prompt"].to_pylist(),
            table["preference"].to_pylist(),
            table["weight"].to_pylist(),
            strict=True,
        )
    )
    uids = {uid for winner, loser, *_ in rows for uid in (winner, loser)}
    reader = ImageReader(store, dataset, fetch=url_fetcher(load_settings()))
    place: dict[str, int] = {}
    parts: list[Tensor] = []
    # In the order in which they lie in their sources: each is passed once, however many row groups it has.
    found = reader.read_each(reader.places(uids))
    done = 0
    while batch := list(islice(found, _ENCODE_BATCH)):
        images = []
        for uid, data in batch:
            try:
                images.append(decode_rgb(data))
            except ImageError:
                continue
            place[uid] = len(place)
        if images:
            parts.append(model.encode_images(images, resolution))
        done += len(batch)
        if on_images:
            on_images(done, len(uids))
    usable = [row for row in rows if row[0] in place and row[1] in place]
    if not usable:
        raise PairsieveError(
            f"no pair of subset {subset.ref} has two readable images",
            code="no-images",
            hint=f"check the sources of dataset {subset.dataset}",
        )
    return Pairs(
        latents=torch.cat(parts),
        winner=torch.tensor([place[row[0]] for row in usable]),
        loser=torch.tensor([place[row[1]] for row in usable]),
        prompts=[row[2] for row in usable],
        skipped=len(rows) - len(usable),
        taken_down=taken_down,
        preference=_preferences([row[3] for row in usable]),
        weight=_weights([row[4] for row in usable]),
    )


def _preferences(values: list[float]) -> Tensor | None:
    found = torch.tensor(values)
    return None if bool((found == 1).all()) else found


def _weights(values: list[float]) -> Tensor | None:
    # Of mean 1, so that the recipe's weights move effort between pairs and leave the learning rate alone.
    found = torch.tensor(values, dtype=torch.float64)
    return None if bool((found == found[0]).all()) else (found / found.mean()).float()


def batches(count: int, *, size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices below `count`: every epoch a new order, fixed by the seed, no index left out.

    A batch may span two epochs, so each has exactly `size` indices even when `count` is smaller.
    """
    generator = torch.Generator().manual_seed(seed)
    waiting = torch.empty(0, dtype=torch.long)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[:size]
        waiting = waiting[size:]
