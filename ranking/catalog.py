"""The Python API: what a store has, and queries, rankings and subsets of it, for notebooks and scripts. The doors to
rooms; what lies behind them is in `ranking.notebook`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranking.datasets import Dataset, get_dataset, list_datasets
from ranking.errors import NotFoundError, UnknownNameError, UsageError
from ranking.features.pairs import PairTable
from ranking.metrics.base import Metric
from ranking.metrics.registry import metrics
from ranking.notebook.chosen import Chosen
from ranking.notebook.look import Look
from ranking.notebook.pairs import Pairs
from ranking.notebook.ranked import WITHOUT, Ranking
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.store.bucket import is_bucket
from ranking.store.snapshots import Snapshot, get_snapshot, latest_snapshot, list_snapshots
from ranking.subsets.catalog import get_subset, list_subsets
from ranking.subsets.recipe import Recipe, load_recipe, parse_recipe

__all__ = ["Catalog", "Chosen", "Look", "Pairs", "Ranking"]


@dataclass(frozen=True, repr=False)
class Catalog:
    """A store and what is in it. Every error is a PairsieveError, whose text is one line that says what, where and what
    to do."""

    store: Store

    @classmethod
    def open(cls, place: str | Path | None = None) -> Catalog:
        """The store at a folder or s3://bucket/prefix, else the one that PAIRSIEVE_STORE names. NotFoundError for a
        folder that does not exist: reading makes none."""
        where = load_settings().store if place is None else str(place)
        if not is_bucket(where) and not Path(where).is_dir():
            raise NotFoundError(f"there is no store at {where}", hint="check the path, or run `pairsieve ingest` first")
        return cls(Store.open(where))

    def datasets(self) -> list[Dataset]:
        """Every dataset at its newest revision, by name."""
        return list_datasets(self.store)

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot, oldest first."""
        return list_snapshots(self.store)

    def snapshot(self, number: int | None = None) -> Snapshot:
        """The numbered snapshot, else the latest one; NotFoundError where there is none yet."""
        found = latest_snapshot(self.store) if number is None else get_snapshot(self.store, number)
        if found is None:
            raise NotFoundError("the store has no snapshot yet", hint="run `pairsieve snapshot create`")
        return found

    def scorers(self, snapshot: int | None = None) -> dict[str, str]:
        """The scorers of a snapshot: the id that each name stands for."""
        return dict(self.snapshot(snapshot).scorers)

    def metrics(self) -> Mapping[str, Metric]:
        """The quality metrics by name, each with formula, source and options."""
        return metrics()

    def subsets(self) -> list[Chosen]:
        """Every version of every subset, by name, then oldest first."""
        return [Chosen(self.store, record) for record in list_subsets(self.store)]

    def subset(self, ref: str) -> Chosen:
        """The subset NAME@VERSION, or the newest of a NAME."""
        return Chosen(self.store, get_subset(self.store, ref))

    def dataset(self, name: str, *, snapshot: int | None = None) -> Pairs:
        """The pairs of a dataset as the latest snapshot, or that of a number, saw them."""
        return Pairs(self._table(name, self.snapshot(snapshot)))

    def rank(self, recipe: Recipe | Mapping[str, Any] | str | Path, *, snapshot: int | None = None) -> Ranking:
        """What a recipe would take: one parsed, as a map of its keys, or the path of a YAML or JSON file."""
        if isinstance(recipe, str | Path):
            recipe = load_recipe(recipe)
        # A map need not have a name before it makes a subset, nor a take.
        values = recipe.canonical() if isinstance(recipe, Recipe) else {**recipe}
        parsed = parse_recipe({**WITHOUT, **values})
        return Ranking(self._table(parsed.dataset, self.snapshot(snapshot)), values).checked()

    def _table(self, name: str, snapshot: Snapshot) -> PairTable:
        if name not in snapshot.datasets:
            known = [dataset.name for dataset in self.datasets()]
            if name not in known:
                raise UnknownNameError.among("dataset", name, known)
            raise UsageError(
                f"dataset {name} is newer than snapshot {snapshot.n}",
                hint="score it and run `pairsieve snapshot create`",
            )
        get_dataset(self.store, name)
        return PairTable(self.store, snapshot, name)

    def __repr__(self) -> str:
        return f"<Catalog of {self.store.uri}>"
