"""Flags for processes that live long: records that were read once are not read again. The API and the dashboard share
it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ranking.flags.book import history_of, read_book
from ranking.flags.listing import list_marks, list_takedowns
from ranking.flags.records import Record
from ranking.flags.takedowns import LiveTakedowns, Taken
from ranking.store.blobs import Store
from service.cursors import sign, verify


@dataclass(frozen=True)
class FlagQuery:
    """Which marks are asked for."""

    dataset: str | None = None
    pair_id: str | None = None
    kind: str | None = None
    by: str | None = None
    withdrawn: bool = False


@dataclass(frozen=True)
class FlagPage:
    """Marks newest first, the next page's cursor, and how many fit in all."""

    rows: list[dict[str, Any]]
    next: str | None
    total: int


class FlagShelf:
    """Reads flags; safe among threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Record] = {}
        self._lock = threading.Lock()
        self._live = LiveTakedowns(store)

    def taken(self) -> Taken:
        """What was taken down, now."""
        return self._live.now()

    def of_pair(self, dataset: str, pair_id: str) -> list[dict[str, Any]]:
        """Everything that was ever said of a pair, newest first."""
        with self._lock:
            book = read_book(self._store, dataset, known=self._known)
        rows: list[dict[str, Any]] = history_of(self._store, book, pair_id).to_pylist()
        return rows

    def kinds_of(self, dataset: str, pair_ids: Sequence[str]) -> dict[str, list[str]]:
        """The kinds of the marks that stand now on those of the pairs that have any, each once."""
        with self._lock:
            table = list_marks(self._store, dataset=dataset, known=self._known)
        rows = table.filter(pc.is_in(table["pair_id"], pa.array(pair_ids, pa.string()))).to_pylist()
        found: dict[str, list[str]] = {}
        for row in reversed(rows):
            kinds = found.setdefault(row["pair_id"], [])
            if row["kind"] not in kinds:
                kinds.append(row["kind"])
        return found

    def takedowns(self) -> list[dict[str, Any]]:
        """Every take-down, newest first."""
        return list_takedowns(self._store)

    def page(self, query: FlagQuery, *, key: bytes, cursor: str | None, limit: int) -> FlagPage:
        """The marks after `cursor` (None: the newest); ApiProblem cursor-mismatch, UnknownNameError."""
        with self._lock:
            table = list_marks(
                self._store,
                dataset=query.dataset,
                pair=query.pair_id,
                kind=query.kind,
                by=query.by,
                withdrawn=query.withdrawn,
                known=self._known,
            )
        identity = {"of": "flags", **vars(query)}
        rest = table if cursor is None else table.filter(_after(table, *verify(key, identity, cursor)))
        rows = rest.slice(0, limit).to_pylist()
        more = rest.num_rows > limit
        following = sign(key, identity, [rows[-1]["created"], rows[-1]["id"]]) if more else None
        return FlagPage(rows, following, table.num_rows)


def _after(table: pa.Table, created: str, flag_id: str) -> pa.ChunkedArray:
    """Which rows come after one, newest first and then by id."""
    same = pc.and_(pc.equal(table["created"], created), pc.greater(table["id"], flag_id))
    return pc.or_(pc.less(table["created"], created), same)
