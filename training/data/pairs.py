"""The pairs of a subset that a run trains on, and where their pictures come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa

from ranking.datasets import Dataset, get_dataset
from ranking.flags.copies import without_taken_down
from ranking.images import Found, ImageReader
from ranking.images.fetch import url_fetcher
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs
from training.data.rows import PairRows, rows_of

Pictures = Callable[[Collection[str]], Iterator[tuple[str, Found]]]
"""Called with image uids: each with its encoded bytes, in an order of its own, each once."""

_AT_ONCE = 20_000
"""Pictures whose pointers are Python objects at one time."""


@dataclass(frozen=True)
class PairSource:
    """Pairs and their pictures."""

    rows: PairRows
    pictures: Pictures


def from_store(store: Store, subset: Subset) -> PairSource:
    """A subset of this store, its pairs file hashed."""
    return from_table(store, get_dataset(store, subset.dataset), subset_pairs(store, subset), ref=subset.ref)


def from_table(store: Store, dataset: Dataset, pairs: pa.Table, *, ref: str) -> PairSource:
    """Pairs of a dataset of this store, as a table of a subset's schema has them."""
    table, taken_down = without_taken_down(store, dataset, pairs)
    reader = ImageReader(store, dataset, fetch=url_fetcher(load_settings()))

    def pictures(uids: Collection[str]) -> Iterator[tuple[str, Found]]:
        # In the order in which they lie in their sources: each is passed once, however many row groups it has.
        places = reader.places(uids).sort_by([(name, "ascending") for name in ("source", "file", "column", "row")])
        for start in range(0, len(places), _AT_ONCE):
            yield from reader.read_each(places.slice(start, _AT_ONCE))

    return PairSource(rows_of(table, ref=ref, taken_down=taken_down), pictures)
