"""The newest snapshot in memory: its wide tables in a sealed DuckDB, swapped as a whole when a newer one
appears. Computes no feature of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import duckdb

from ranking import duck
from ranking.datasets import Dataset, list_datasets
from ranking.errors import PairsieveError, UnknownNameError
from ranking.features.fields import Field, fields_of
from ranking.features.wide import wide_table
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, latest_snapshot
from service.problems import ApiProblem

log = logging.getLogger("pairsieve.service")

POLL_SECONDS: Final = 2.0
_QUERY_MS: Final = 10_000


@dataclass(frozen=True)
class Table:
    """One dataset's wide table in memory. `scales` is each scorer's usual range: the 1st and 99th percentile
    of all its scores here."""

    dataset: str
    relation: str
    rows: int
    scales: dict[str, tuple[float, float]]
    sample_uid: str | None


@dataclass(frozen=True)
class View:
    """What one request sees: the newest snapshot's tables, and every dataset, also those no snapshot holds
    yet."""

    con: duckdb.DuckDBPyConnection = field(repr=False)
    snapshot: Snapshot | None
    datasets: Mapping[str, Dataset]
    tables: Mapping[str, Table]
    columns: Mapping[str, Field]

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
        self._view = View(_sealed({}, {}), None, {}, {}, {})
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
        return View(_sealed({}, {}), None, datasets, {}, {})
    names = [name for name in snapshot.datasets if name in datasets]
    relations = {name: f"wide_{index}" for index, name in enumerate(names)}
    con = _sealed(relations, {name: duck.parquet_scan([wide_table(store, snapshot, name)]) for name in names})
    tables = {name: _table(con, name, relations[name], list(snapshot.scorers)) for name in names}
    return View(con, snapshot, datasets, tables, fields_of(snapshot))


def _sealed(relations: Mapping[str, str], scans: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """A connection that holds the tables and, from then on, can open no file at all and run no query for
    long."""
    con = duckdb.connect(":memory:")
    con.execute("SET enable_progress_bar=false")
    con.execute("SET TimeZone='UTC'")
    con.execute("SET python_enable_replacements=false")
    for name, relation in relations.items():
        con.execute(f"CREATE TABLE {duck.identifier(relation)} AS SELECT * FROM {scans[name]}")
    con.execute("SET autoinstall_known_extensions=false")
    con.execute("SET autoload_known_extensions=false")
    con.execute("SET allow_community_extensions=false")
    con.execute("SET temp_directory=''")
    con.execute("SET enable_external_access=false")
    con.execute(f"SET max_execution_time={_QUERY_MS}")
    con.execute("SET lock_configuration=true")
    return con


def _table(con: duckdb.DuckDBPyConnection, name: str, relation: str, scorers: list[str]) -> Table:
    table = duck.identifier(relation)
    scales: dict[str, tuple[float, float]] = {}
    for scorer in scorers:
        sides = [duck.identifier(f"{scorer}.{side}") for side in (0, 1)]
        scores = f"(SELECT unnest([{', '.join(sides)}])::DOUBLE AS s FROM {table})"
        ends = duck.arrow(con, f"SELECT quantile_cont(s, [0.01, 0.99]) AS ends FROM {scores} WHERE s IS NOT NULL")[
            "ends"
        ][0].as_py()
        if ends is not None:
            scales[scorer] = (float(ends[0]), float(ends[1]))
    rows = duck.arrow(con, f"SELECT count(*) AS n, any_value(image_0_uid) AS uid FROM {table}").to_pylist()[0]
    return Table(name, relation, rows["n"], scales, rows["uid"])
