"""What stands beside a wide table in memory: derived fields as SQL, and column sets that are loaded when somebody names
one of their fields, or computed in the background where nobody did before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow.parquet as pq

from ranking import duck
from ranking.features.columns import ColumnSet, column_file, find_columns
from ranking.features.derived import expression
from ranking.features.fields import Field
from ranking.features.pairs import PairTable, wanted_fields
from service.problems import ApiProblem

log = logging.getLogger("pairsieve.service")

ROW: Final = "#row"
"""The column of a table in memory that numbers its rows as the wide table's file has them."""

PATIENCE: Final = 3.0
"""Seconds that a request waits for columns to be computed before it says that they are not."""


@dataclass
class _Work:
    """Columns that are being computed, or why they could not be."""

    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class Beside:
    """The fields of one table in memory that its own columns do not hold. Safe among threads."""

    def __init__(self, con: duckdb.DuckDBPyConnection, relation: str, pairs: PairTable) -> None:
        self._con = con
        self._relation = relation
        self.pairs = pairs
        self._loaded: dict[str, str] = {}
        self._at_work: dict[str, _Work] = {}
        self._turn = threading.Lock()
        self._columns = {each.name for columns in pairs.column_sets.values() for each in columns.fields}

    @property
    def names(self) -> frozenset[str]:
        """The fields that the table's own columns do not hold."""
        derived = {each.name for each in self.pairs.fields.values() if each.sql is not None}
        return frozenset(derived | self._columns)

    def compute(self, names: Iterable[str]) -> None:
        """See to it that these fields are kept, so that whoever reads them from the store need not compute them;
        ApiProblem not-computed where that takes long, and the errors of computing them."""
        for columns in self._sets(wanted_fields(names, self.pairs.fields).columns):
            self._table(columns)

    def relation(self, names: Iterable[str]) -> str:
        """SQL for a FROM clause: the table's columns and these fields. ApiProblem not-computed where one of them is
        being computed; an error of computing it is raised."""
        wanted = wanted_fields(names, self.pairs.fields)
        tables = [self._table(columns) for columns in self._sets(wanted.columns)]
        return self._sql(tables, wanted.derived)

    def known(self) -> tuple[str, list[Field]]:
        """The same with all fields that need no computing: derived ones, and columns that were kept. For one row."""
        tables, have = [], set()
        for columns in self.pairs.column_sets.values():
            table = self._kept(columns)
            if table is not None:
                tables.append(table)
                have |= {each.name for each in columns.fields}
        derived = tuple(
            each
            for each in self.pairs.fields.values()
            if each.sql is not None and not (set(each.reads) & self._columns) - have
        )
        kept = [each for each in self.pairs.fields.values() if each.name in have]
        return self._sql(tables, derived), [*derived, *kept]

    def _sql(self, tables: Iterable[str], derived: Iterable[Field]) -> str:
        tallies = self.pairs.wide.tallies
        made = "".join(f", {expression(each, tallies)} AS {duck.identifier(each.name)}" for each in derived)
        joins = "".join(f" JOIN {duck.identifier(table)} USING ({duck.identifier(ROW)})" for table in tables)
        return f"(SELECT *{made} FROM {duck.identifier(self._relation)}{joins})"

    def _sets(self, columns: frozenset[str]) -> list[ColumnSet]:
        return [
            each for each in self.pairs.column_sets.values() if columns & {described.name for described in each.fields}
        ]

    def _table(self, columns: ColumnSet) -> str:
        """The table in memory that holds the columns; they are computed if they are not kept."""
        table = self._kept(columns)
        if table is not None:
            return table
        with self._turn:
            work = self._at_work.get(columns.name)
            if work is None:
                work = self._at_work[columns.name] = _Work()
                threading.Thread(
                    target=self._compute, args=(columns, work), name=f"pairsieve-{columns.name}", daemon=True
                ).start()
        if not work.done.wait(PATIENCE):
            raise ApiProblem(
                "not-computed",
                f"{columns.fields[0].name} and what comes with it is being computed for {self.pairs.dataset}; ask "
                "again in a while.",
                headers={"retry-after": "5"},
            )
        if work.error is not None:
            raise work.error
        table = self._kept(columns)
        assert table is not None, "what was computed is kept"
        return table

    def _compute(self, columns: ColumnSet, work: _Work) -> None:
        try:
            column_file(self.pairs, columns)
        except Exception as error:  # whoever asked is told
            log.warning("%s of %s cannot be computed: %s", columns.name, self.pairs.dataset, error)
            work.error = error
        finally:
            work.done.set()

    def _kept(self, columns: ColumnSet) -> str | None:
        with self._turn:
            if columns.name not in self._loaded:
                path = find_columns(self.pairs, columns)
                if path is None:
                    return None
                self._loaded[columns.name] = self._load(path)
            return self._loaded[columns.name]

    def _load(self, path: Path) -> str:
        name = f"{self._relation}_beside_{len(self._loaded)}"
        given = pq.read_table(path, partitioning=None)
        given = given.append_column(ROW, [np.arange(given.num_rows)])
        with self._con.cursor() as con:
            con.register("given", given)
            con.execute(f"CREATE TABLE {duck.identifier(name)} AS FROM given")
            con.unregister("given")
        return name
