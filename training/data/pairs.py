"""The pairs of a subset that a run trains on, and where their pictures come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ranking.datasets import get_dataset
from ranking.flags.copies import without_taken_down
from ranking.images import ImageReader
from ranking.images.fetch import url_fetcher
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs

Pictures = Callable[[Collection[str]], Iterator[tuple[str, bytes]]]
"""Called with image uids: each with its encoded bytes, in an order of its own, each once."""


@dataclass(frozen=True)
class PairRows:
    """N pairs of a pinned subset, in its order. `preference` float32 (N,) is the probability that the winner is the
    better image, `weight` float32 (N,) what the recipe weighs it by. `taken_down` counts pairs with an image that
    somebody took down since, if only a moment ago."""

    ref: str
    pair_ids: list[str]
    prompts: list[str]
    winners: list[str]
    losers: list[str]
    preference: Tensor
    weight: Tensor
    taken_down: int = 0

    def __len__(self) -> int:
        return len(self.pair_ids)

    def at(self, places: list[int]) -> PairRows:
        """Some of them, in the order of their places."""
        lists = {
            name: [getattr(self, name)[i] for i in places] for name in ("pair_ids", "prompts", "winners", "losers")
        }
        return PairRows(
            ref=self.ref,
            preference=self.preference[places],
            weight=self.weight[places],
            taken_down=self.taken_down,
            **lists,
        )


@dataclass(frozen=True)
class PairSource:
    """Pairs and their pictures."""

    rows: PairRows
    pictures: Pictures


def from_store(store: Store, subset: Subset) -> PairSource:
    """A subset of this store."""
    dataset = get_dataset(store, subset.dataset)
    table, taken_down = without_taken_down(store, dataset, subset_pairs(store, subset))
    reader = ImageReader(store, dataset, fetch=url_fetcher(load_settings()))
    rows = PairRows(
        ref=subset.ref,
        pair_ids=table["pair_id"].to_pylist(),
        prompts=table["prompt"].to_pylist(),
        winners=table["winner_uid"].to_pylist(),
        losers=table["loser_uid"].to_pylist(),
        preference=torch.tensor(table["preference"].to_pylist()),
        weight=torch.tensor(table["weight"].to_pylist()),
        taken_down=taken_down,
    )
    # In the order in which they lie in their sources: each is passed once, however many row groups it has.
    return PairSource(rows, lambda uids: reader.read_each(reader.places(set(uids))))
