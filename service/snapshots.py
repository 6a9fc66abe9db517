"""The newest snapshot in memory: its wide tables in a sealed DuckDB, swapped as a whole when a newer one
appears. Computes no feature of its own."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import duckdb
import pyarrow.parquet as pq

from ranking import duck
from ranking.datasets import Dataset, list_datasets
from ranking.errors import PairsieveError, UnknownNameError
from ranking.exchange.records import imported_ids
from ranking.features.fields import Field
from ranking.features.pairs import PairTable
from ranking.features.tallies import Tally
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, latest_snapshot
from service.beside import ROW, Beside
from service.problems import ApiProblem

log = logging.getLogger("pairsieve.service")

POLL_SECONDS: Final = 2.0
_QUERY_MS: Final = 10_000


@dataclass(frozen=True)
class Table:
    """One dataset's wide table in memory. `columns` are what one may filter and sort by, `beside` has those of them
    that the table itself has not; `scales` is each scorer's usual range: the 1st and 99th percentile of all its scores
    here; `tallies` say how each fared."""

    dataset: str
    relation: str
    rows: int
    columns: Mapping[str, Field]
    scales: Mapping[str, tuple[float, float]]
    tallies: Mapping[str, Tally]
    sample_uid: str | None
    beside: Beside = field(repr=False, compare=False)

    @cached_property
    def features(self) -> frozenset[str]:
        """The fields that are derived or kept beside the table."""
        return self.beside.names


@dataclass(frozen=True)
class View:
    """What one request sees: the newest snapshot's tables, every dataset, also those no snapshot holds yet, and the
    ids of scorers whose scores were imported."""

    con: duckdb.DuckDBPyConnection = field(repr=False)
    snapshot: Snapshot | None
    datasets: Mapping[str, Dataset]
    tables: Mapping[str, Table]
    imported: frozenset[str] = frozenset()

    @property
    def number(self) -> int | None:
        """The snapshot's number, which every answer made from it carries."""
        return self.snapshot.n if self.snapshot else None

    @property
    def scorers(self) -> list[str]:
        """The names of the snapshot's scorers."""
        return list(self.snapshot.scorers) if self.snapshot else []

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection to the tables for this thread alone."""
        return self.con.cursor()

    def dataset(self, name: str | None) -> Dataset | None:
        """The dataset of this name. Without a name the only one, or the only one with scores to show; None if
        the store has no dataset; ApiProblem if there are several or the name is unknown."""
        if name is not None:
            if name not in self.datasets:
                raise UnknownNameError.among("dataset", name, self.datasets)
            return self.datasets[name]
        names = list(self.tables if len(self.tables) == 1 else self.datasets)
        if len(names) > 1:
            raise ApiProblem(
                "invalid-parameter", f"There are several datasets; add dataset=, one of {', '.join(names)}."
            )
        return self.datasets[names[0]] if names else None

    def table(self, dataset: Dataset) -> Table:
        """The dataset's wide table; ApiProblem not-snapshotted."""
        if dataset.name not in self.tables:
            raise ApiProblem(
                "not-snapshotted",
                f"Dataset {dataset.name} has {dataset.n_pairs:,} pairs, but no snapshot holds it yet; "
                "run `pairsieve snapshot create`.",
            )
        return self.tables[dataset.name]


class Snapshots:
    """Keeps a `View` of the store that is at most a few seconds old. Requests hold on to the view they began
    with."""

    def __init__(self, store: Store, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._seen: tuple[str, ...] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._refreshing = threading.Lock()
        self._view = View(_sealed({}, {}), None, {}, {})
        self.error: str | None = None

    @property
    def view(self) -> View:
        """The newest view."""
        return self._view

    def refresh(self) -> bool:
        """Look for news and load them; True if the view was replaced. An error keeps the old view and is
        raised."""
        with self._refreshing:
            seen = tuple(self._store.list("snapshots") + self._store.list("datasets"))
            if seen == self._seen:
                return False
            view = load_view(self._store)
            self._view, self._seen, self.error = view, seen, None
            return True

    def start(self) -> None:
        """Load what is there, then poll in a thread until `stop`."""
        self._try_refresh()
        self._thread = threading.Thread(target=self._poll, name="pairsieve-snapshots", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End polling."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            self._try_refresh()

    def _try_refresh(self) -> None:
        try:
            self.refresh()
        except (PairsieveError, duckdb.Error, OSError) as error:
            if self.error != str(error):  # once, not every two seconds
                log.error("the newest snapshot cannot be loaded: %s", error)
            self.error = str(error)


def load_view(store: Store) -> View:
    """The newest snapshot of the store, loaded. Its wide tables are built if nobody did so before."""
    snapshot = latest_snapshot(store)
    datasets = {dataset.name: dataset for dataset in list_datasets(store)}
    if snapshot is None:
        return View(_sealed({}, {}), None, datasets, {})
    names = [name for name in snapshot.datasets if name in datasets]
    relations = {name: f"wide_{index}" for index, name in enumerate(names)}
    built = {name: PairTable(store, snapshot, name) for name in names}
    con = _sealed(relations, {name: pairs.path for name, pairs in built.items()})
    tables = {
        name: Table(
            name,
            relations[name],
            pairs.wide.table.rows,
            pairs.fields,
            pairs.wide.scales,
            pairs.wide.tallies,
            _any_image(con, relations[name]),
            Beside(con, relations[name], pairs),
        )
        for name, pairs in built.items()
    }
    return View(con, snapshot, datasets, tables, imported_ids(store))


def _sealed(relations: Mapping[str, str], paths: Mapping[str, Path]) -> duckdb.DuckDBPyConnection:
    """A connection that holds the tables and, from then on, can open no file at all and run no query for
    long."""
    con = duckdb.connect(":memory:")
    con.execute("SET enable_progress_bar=false")
    con.execute("SET TimeZone='UTC'")
    con.execute("SET python_enable_replacements=false")
    con.execute("SET preserve_insertion_order=false")  # quicker to load; every query says its order
    for name, relation in relations.items():
        _load(con, relation, paths[name])
    con.execute("SET autoinstall_known_extensions=false")
    con.execute("SET autoload_known_extensions=false")
    con.execute("SET allow_community_extensions=false")
    con.execute("SET temp_directory=''")
    con.execute("SET enable_external_access=false")
    con.execute(f"SET max_execution_time={_QUERY_MS}")
    con.execute("SET lock_configuration=true")
    return con


def _load(con: duckdb.DuckDBPyConnection, relation: str, path: Path) -> None:
    """Make `relation` of a Parquet file. Columns that are null throughout (a third of them, where no image was
    decoded and every score is there) are not kept a million times but said in a view."""
    scan, empty = f"read_parquet([{duck.literal(str(path))}], file_row_number = true)", _null_columns(path)
    row = duck.identifier(ROW)
    columns = con.execute(f"DESCRIBE SELECT * FROM {duck.parquet_scan([path])}").fetchall()
    kept = [duck.identifier(name) for name, *_ in columns if name not in empty]
    table = duck.identifier(f"{relation}_rows")
    con.execute(f"CREATE TABLE {table} AS SELECT {', '.join(kept)}, file_row_number AS {row} FROM {scan}")
    shown = [
        f"NULL::{kind} AS {duck.identifier(name)}" if name in empty else duck.identifier(name)
        for name, kind, *_ in columns
    ]
    con.execute(f"CREATE VIEW {duck.identifier(relation)} AS SELECT {', '.join(shown)}, {row} FROM {table}")


def _null_columns(path: Path) -> set[str]:
    """The columns of one of our Parquet files that hold nothing, by its footer; never all of them."""
    footer = pq.read_metadata(path)
    nulls: Counter[str] = Counter()
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            known = column.statistics is not None and column.statistics.has_null_count
            nulls[column.path_in_schema] += column.statistics.null_count if known else 0
    return {name for name, count in nulls.items() if 0 < count == footer.num_rows and name != "pair_id"}


def _any_image(con: duckdb.DuckDBPyConnection, relation: str) -> str | None:
    found = duck.arrow(con, f"SELECT image_0_uid FROM {duck.identifier(relation)} LIMIT 1")["image_0_uid"].to_pylist()
    return found[0] if found else None
