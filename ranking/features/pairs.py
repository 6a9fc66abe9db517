"""The pairs of one dataset as one snapshot saw them, with every field that recipes may name. Fields that are not in the
wide table are computed when something names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import duckdb

from ranking import duck
from ranking.embeddings import embedding_names
from ranking.errors import UnknownNameError
from ranking.features.columns import ColumnFamily, ColumnSet, column_file
from ranking.features.derived import derived_fields, expression
from ranking.features.fields import Field, fields
from ranking.features.fields import known_fields as wide_fields
from ranking.features.wide import Wide, checked_wide, pinned_dataset
from ranking.metrics.scaling import Scale
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot

_COLUMN_SETS: dict[str, str] = {
    "text": "ranking.features.prompts:TEXT",
    "safety": "ranking.features.safety:SAFETY",
    "prompt-scale": "ranking.features.under_prompt:PROMPT_SCALES",
    "pareto": "ranking.features.under_prompt:PARETO",
    "confidence": "ranking.confidence.columns:COLUMNS",
}
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

    @property
    def hashed(self) -> bool:
        """Whether the file was hashed already."""
        return "_checked" in vars(self)

    @property
    def scanned(self) -> Path:
        """The file that relations scan. What may be thrown away again may be read from it, see
        `ranking.features.meanwhile`; what is kept must not be computed before `confirm`."""
        return self.path

    def confirm(self) -> None:
        """Wait until the file is hashed; StoreError if it is damaged."""
        _ = self.path

    def accept(self, wide: Wide, path: Path) -> None:
        """Take a table whose file somebody else hashed just now."""
        vars(self)["_checked"] = wide, path

    @cached_property
    def whole(self) -> bool:
        """Whether it has every pair of the dataset's revision; a snapshot leaves out those with images taken down."""
        return self.wide.table.rows == pinned_dataset(self.store, self.snapshot, self.dataset).n_pairs

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Every field by name: the wide table's columns in their order, what is derived from them, then those of the
        column sets."""
        beside = {field.name: field for columns in self.column_sets.values() for field in columns.fields}
        return fields(self.store, self.snapshot, self.dataset) | derived_fields(self.scorers) | beside

    @cached_property
    def column_sets(self) -> dict[str, ColumnSet]:
        """The column sets by name."""
        return column_sets(self.scorers)

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

    def relation(self, needed: Iterable[str] = (), *, position: bool = False) -> str:
        """SQL for what stands in a FROM clause: every column of the wide table and the fields `needed`, one row per
        pair, in the order of ingestion; with `position` a column of that name too, the row's number from 0. Nothing
        that is not read is computed. UnknownNameError for an unknown field."""
        wanted = wanted_fields(needed, self.fields)
        beside = [columns for columns in self.column_sets.values() if wanted.columns & {f.name for f in columns.fields}]
        parts = [duck.parquet_scan([self.scanned], position=position)]
        parts += [duck.parquet_scan([column_file(self, columns)]) for columns in beside]
        derived = "".join(
            f", {expression(field, self.wide.tallies)} AS {duck.identifier(field.name)}" for field in wanted.derived
        )
        # All have a row for each pair, in the same order: a join by position looks nothing up.
        return f"(SELECT *{derived} FROM {' POSITIONAL JOIN '.join(parts)})"

    def connect(
        self, *, threads: int | None = None, memory_limit: str | None = duck.MEMORY
    ) -> duckdb.DuckDBPyConnection:
        """A connection that may spill to the store's workspace."""
        from ranking.store.parquet import new_spill

        return duck.connect(threads, memory_limit, temp_directory=new_spill(self.store))


def column_sets(scorers: Sequence[str]) -> dict[str, ColumnSet]:
    """The column sets of a snapshot with these scorers, by name."""
    found: dict[str, ColumnSet] = {}
    for declared in _declared():
        members = declared.members(scorers) if isinstance(declared, ColumnFamily) else (declared,)
        found |= {columns.name: columns for columns in members}
    return found


def column_versions() -> dict[str, int]:
    """The version of each column set or family of them that is computed today."""
    return {declared.name: declared.version for declared in _declared()}


def known_fields(scorers: Sequence[str], ratings: Iterable[str]) -> dict[str, Field]:
    """Every field of a dataset with these scorers and kinds of ratings, by name."""
    beside = {field.name: field for columns in column_sets(scorers).values() for field in columns.fields}
    return wide_fields(scorers, ratings) | derived_fields(scorers) | beside


@dataclass(frozen=True)
class Wanted:
    """What certain fields take: the columns to be read, and the fields to be derived from them."""

    columns: frozenset[str]
    derived: tuple[Field, ...]


def wanted_fields(names: Iterable[str], known: Mapping[str, Field]) -> Wanted:
    """What the fields `names` take. UnknownNameError for an unknown one."""
    columns: set[str] = set()
    derived: dict[str, Field] = {}
    for name in names:
        if name not in known:
            raise UnknownNameError.among("field", name, known)
        field = known[name]
        columns |= {name} if field.sql is None else set(field.reads)
        if field.sql is not None:
            derived[name] = field
    return Wanted(frozenset(columns), tuple(derived.values()))


def _declared() -> list[ColumnSet | ColumnFamily]:
    found = []
    for place in _COLUMN_SETS.values():
        module, _, attribute = place.partition(":")
        found.append(vars(import_module(module))[attribute])
    return found
