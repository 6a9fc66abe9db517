"""Which images were taken down: by name, and by the bytes they consist of. Every reader of images asks here."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ranking.flags.records import TAKEDOWNS, Record, TakeDown, Withdrawal, parse_record, record_keys
from ranking.store.blobs import Store

TAKEN: pa.Schema = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("uid", pa.string()),
        ("sha256", pa.string()),
        ("by", pa.string()),
        ("created", pa.string()),
        ("why", pa.string()),
        ("door", pa.string()),
    ]
)
"""One row per take-down that stands, by id."""


@dataclass(frozen=True)
class Taken:
    """What must not be shown: (dataset, uid) of images, and SHA-256 of images' bytes."""

    images: frozenset[tuple[str, str]]
    contents: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.images or self.contents)

    def of(self, dataset: str) -> frozenset[str]:
        """The uids of a dataset that were taken down by name."""
        return frozenset(uid for name, uid in self.images if name == dataset)


NOTHING = Taken(frozenset(), frozenset())


class LiveTakedowns:
    """The take-downs that stand at the moment somebody asks: one listing, and what is new is read. Safe among threads.

    Records never change, so those read before are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[str, Record] = {}
        self._seen: tuple[str, ...] = ()
        self._taken = NOTHING

    def now(self) -> Taken:
        """What must not be shown now. StoreError if a record is damaged: it could be any image's."""
        keys = tuple(record_keys(self._store, TAKEDOWNS))
        with self._lock:
            if keys != self._seen:
                self._taken = taken_of(standing_of(read_takedowns(self._store, known=self._known, keys=keys)))
                self._seen = keys
            return self._taken


def read_takedowns(
    store: Store, *, known: dict[str, Record] | None = None, keys: Iterable[str] | None = None
) -> tuple[Record, ...]:
    """Every take-down and every withdrawal of one; StoreError for a damaged record."""
    seen = known if known is not None else {}
    listed = list(keys) if keys is not None else record_keys(store, TAKEDOWNS)
    new = [key for key in listed if key not in seen]
    seen.update({key: parse_record(data, key) for key, data in zip(new, store.get_all(new), strict=True)})
    return tuple(seen[key] for key in listed)


def standing_of(records: Iterable[Record]) -> list[TakeDown]:
    """The take-downs among the records that were not withdrawn, by id."""
    each = list(records)
    withdrawn = {record.of for record in each if isinstance(record, Withdrawal)}
    stand = [record for record in each if isinstance(record, TakeDown) and record.id not in withdrawn]
    return sorted(stand, key=lambda record: record.id)


def standing_takedowns(store: Store) -> pa.Table:
    """The take-downs that stand (TAKEN)."""
    rows = [{name: getattr(record, name) for name in TAKEN.names} for record in standing_of(read_takedowns(store))]
    return pa.Table.from_pylist(rows, schema=TAKEN)


def taken_of(records: Iterable[TakeDown]) -> Taken:
    """What these take-downs forbid to show."""
    each = list(records)
    return Taken(
        frozenset((record.dataset, record.uid) for record in each if record.dataset and record.uid),
        frozenset(record.sha256 for record in each if record.sha256),
    )


def taken_in(table: pa.Table, dataset: str) -> tuple[frozenset[str], frozenset[str]]:
    """Of take-downs (TAKEN) the uids of a dataset, and the SHA-256 that hold for every dataset."""
    mine = table.filter(pc.equal(table["dataset"], dataset))
    named = frozenset(mine["uid"].drop_null().to_pylist())
    return named, frozenset(table["sha256"].drop_null().to_pylist())
