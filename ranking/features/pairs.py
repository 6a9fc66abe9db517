"""The pairs of one dataset as one snapshot saw them, with every field that recipes may name. Fields that are not in the
wide table are computed when something names them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import duckdb

from ranking import duck
from ranking.embeddings import embedding_names
from ranking.errors import UnknownNameError
from ranking.features.columns import ColumnSet, column_file
from ranking.features.fields import Field, fields
from ranking.features.wide import Wide, checked_wide
from ranking.metrics.scaling import Scale
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot

_COLUMN_SETS: dict[str, str] = {}
"""Where each column set lies, "module:NAME", by its name: loaded when its fields are asked for."""


@dataclass(frozen=True)
class PairTable:
    """The pairs of a dataset in a snapshot. Nothing is read or built before something is asked of it."""

    store: Store
    snapshot: Snapshot
    dataset: str

    @cached_property
    def _checked(self) -> tuple[Wide, Path]:
        return checked_wide(self.store, self.snapshot, self.dataset)

    @property
    def wide(self) -> Wide:
        """The wide table's record; built if nobody did so before. Errors are those of `wide_table`."""
        return self._checked[0]

    @property
    def path(self) -> Path:
        """The wide table's file, hashed once."""
        return self._checked[1]

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Every field by name: the wide table's columns in their order, then those of the column sets."""
        known = dict(fields(self.store, self.snapshot, self.dataset))
        for columns in column_sets().values():
            known |= {field.name: field for field in columns.fields}
        return known

    @property
    def scorers(self) -> list[str]:
        """The scorers of the snapshot."""
        return list(self.snapshot.scorers)

    def scale(self, scorer: str) -> Scale:
        """Extremes, mean and deviation of a scorer's scores of the dataset's items, from the wide table's record."""
        found = self.wide.tallies[scorer]
        if found.low is None or found.high is None:
            return Scale(0.0, 0.0, 0.0, 0.0)
        return Scale(found.low, found.high, found.mean, found.deviation)

    @property
    def embeddings(self) -> list[str]:
        """The embeddings of the snapshot."""
        return list(embedding_names(self.snapshot))

    def relation(self, needed: Iterable[str] = ()) -> str:
        """SQL for what stands in a FROM clause: every column of the wide table and the fields `needed`, one row per
        pair, in the order of ingestion. Nothing that is not read is computed. UnknownNameError for an unknown field."""
        beside: dict[str, ColumnSet] = {}
        for name in needed:
            if name not in self.fields:
                raise UnknownNameError.among("field", name, self.fields)
            for columns in column_sets().values():
                if any(field.name == name for field in columns.fields):
                    beside[columns.name] = columns
        parts = [duck.parquet_scan([self.path])]
        parts += [duck.parquet_scan([column_file(self, columns)]) for columns in beside.values()]
        # Both have a row for each pair, in the same order: a join by position looks nothing up.
        return f"(SELECT * FROM {' POSITIONAL JOIN '.join(parts)})"

    def connect(
        self, *, threads: int | None = None, memory_limit: str | None = duck.MEMORY
    ) -> duckdb.DuckDBPyConnection:
        """A connection that may spill to the store's workspace."""
        from ranking.store.parquet import new_spill

        return duck.connect(threads, memory_limit, temp_directory=new_spill(self.store))


def column_sets() -> dict[str, ColumnSet]:
    """The column sets by name."""
    found: dict[str, ColumnSet] = {}
    for name, place in _COLUMN_SETS.items():
        module, _, attribute = place.partition(":")
        found[name] = vars(import_module(module))[attribute]
    return found
