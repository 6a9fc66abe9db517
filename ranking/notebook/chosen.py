"""A subset as one reads it in a notebook: its pairs, what it was made by, and how it differs from another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ranking.features.pairs import PairTable
from ranking.notebook.frames import Tabular
from ranking.notebook.ranked import Ranking
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, get_subset, subset_pairs
from ranking.subsets.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from ranking.notebook.look import Look
    from ranking.subsets.compare import Comparison


@dataclass(frozen=True, repr=False)
class Chosen(Tabular):
    """An immutable subset of a store; `record` is what its manifest says."""

    store: Store
    record: Subset

    @property
    def ref(self) -> str:
        """name@version."""
        return self.record.ref

    @property
    def recipe(self) -> Recipe:
        """What it was made by."""
        return parse_recipe(self.record.recipe)

    @property
    def statistics(self) -> dict[str, Any]:
        """The dataset before and the subset after, in numbers."""
        return self.record.statistics

    @cached_property
    def table(self) -> PairTable:
        """The pairs it was chosen from, by the snapshot that it cites."""
        return PairTable(self.store, get_snapshot(self.store, self.record.snapshot.n), self.record.dataset)

    @property
    def ranking(self) -> Ranking:
        """Its recipe, to vary: `catalog.subset("qsd-top5").ranking.top("1%")`."""
        return Ranking(self.table, self.record.recipe)

    def to_arrow(self) -> pa.Table:
        """Its pairs, best first (SUBSET_PAIRS), after their file was hashed."""
        return subset_pairs(self.store, self.record)

    def compare(self, other: Chosen | str) -> Comparison:
        """What it has in common with another subset, or one of this NAME@VERSION, and what sets them apart."""
        from ranking.subsets.compare import compare

        record = other.record if isinstance(other, Chosen) else get_subset(self.store, other)
        return compare(self.store, self.record, record)

    def look(self, most: int = 6) -> Look:
        """Its best pairs to look at."""
        from ranking.notebook.look import look_at

        return look_at(self.table, self.to_arrow()["pair_id"].slice(0, most).to_pylist())

    def __len__(self) -> int:
        return self.record.rows

    def __repr__(self) -> str:
        return f"<Subset {self.ref}: {self.record.rows:,} pairs of {self.record.dataset}>"
