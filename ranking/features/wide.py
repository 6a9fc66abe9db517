"""The wide table: one row per pair with everything known of it, built once per snapshot and dataset. Derivable, so
deletable."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranking.datasets import Dataset, get_dataset
from ranking.errors import UNUSABLE, NotFoundError, StoreError
from ranking.features.assemble import assemble, tallies
from ranking.features.tallies import Tally
from ranking.names import canonical_json, parse_json
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile
from ranking.store.snapshots import Snapshot

VERSION = 4  # raise it when the columns or their meaning change: cached tables are then stale


@dataclass(frozen=True)
class Wide:
    """A built wide table. `scales` is each scorer's usual range, the 1st and 99th percentile of its scores of the
    dataset's items; a scorer without any has none. `tallies` say how each scorer fared. `ratings` are the kinds of
    ratings that have columns."""

    dataset: str
    snapshot: str
    version: int
    table: DataFile
    scales: dict[str, tuple[float, float]]
    tallies: dict[str, Tally]
    ratings: tuple[str, ...]

    def path(self, store: Store) -> Path:
        """The Parquet file, hashed; StoreError if it is damaged."""
        return store.checked_path(self.table.file, self.table.sha256)


def wide_table(store: Store, snapshot: Snapshot, dataset: str) -> Path:
    """The Parquet file with one row per pair of `dataset` as the snapshot saw it, in the order of ingestion; its
    columns are those of `ranking.features.fields`, in that order.

    Built on the first call; every file it reads is hashed first, and so is the table whenever it is asked for. One
    that is damaged or lost is built again. NotFoundError if the snapshot does not have the dataset, StoreError if a
    file of it is damaged.
    """
    return checked_wide(store, snapshot, dataset)[1]


def checked_wide(store: Store, snapshot: Snapshot, dataset: str) -> tuple[Wide, Path]:
    """The same with what else is known of it."""
    pinned = pinned_dataset(store, snapshot, dataset)
    found = _find(store, snapshot, dataset)
    if found is not None:
        return found
    key = wide_key(snapshot, dataset)
    built = assemble(store, snapshot, pinned, folder=f"wide/{snapshot.sha[:16]}")
    wide = Wide(dataset, snapshot.sha, VERSION, built.table, built.scales, built.tallies, built.ratings)
    if store.put_if_absent(key, canonical_json(asdict(wide))):
        return wide, store.local(wide.table.file)  # hashed as it was written
    found = _find(store, snapshot, dataset)
    if found is None:
        raise StoreError(f"{key} was damaged while it was built", code="damaged", hint="try again")
    return found


def unhashed_wide(store: Store, snapshot: Snapshot, dataset: str) -> tuple[Wide, Path] | None:
    """The table's record and its file as they lie there, not hashed; None if it is not built or lost, or its record is
    no good. Builds and removes nothing. NotFoundError if the snapshot does not have the dataset."""
    pinned_dataset(store, snapshot, dataset)
    key = wide_key(snapshot, dataset)
    if not store.exists(key):
        return None
    try:
        wide = _parse(store.get(key), key)
        return (wide, store.local(wide.table.file)) if wide.snapshot == snapshot.sha else None
    except (NotFoundError, StoreError) as error:
        if error.code == UNUSABLE:
            raise
        return None


def scorer_tallies(store: Store, snapshot: Snapshot, dataset: str) -> dict[str, Tally]:
    """How each scorer of the snapshot fared with a dataset of it: from the wide table's record if there is one, else
    counted from the scores. Errors are those of `wide_table`."""
    pinned = pinned_dataset(store, snapshot, dataset)
    key = wide_key(snapshot, dataset)
    if store.exists(key):
        with suppress(NotFoundError, StoreError):  # a damaged record is built again when its table is asked for
            return _parse(store.get(key), key).tallies
    return tallies(store, snapshot, pinned)


def wide_key(snapshot: Snapshot, dataset: str) -> str:
    """Where the wide table of a snapshot's dataset is, or will be, described."""
    return f"wide/{snapshot.sha[:16]}/{dataset}.v{VERSION}.json"


def pinned_dataset(store: Store, snapshot: Snapshot, dataset: str) -> Dataset:
    """The dataset at the revision the snapshot saw; NotFoundError if it saw none."""
    get_dataset(store, dataset)  # an unknown name gets the error that lists the known ones
    pin = snapshot.datasets.get(dataset)
    if pin is None:
        raise NotFoundError(
            f"snapshot {snapshot.n} is older than dataset {dataset}",
            hint="make a new one with `snapshot create`",
        )
    return get_dataset(store, dataset, revision=pin.revision)


def _find(store: Store, snapshot: Snapshot, dataset: str) -> tuple[Wide, Path] | None:
    """The table if it is there and whole. A damaged one is worth nothing and goes, so that it can be built again."""
    key = wide_key(snapshot, dataset)
    if not store.exists(key):
        return None
    wide = None
    try:
        wide = _parse(store.get(key), key)
        if wide.snapshot == snapshot.sha:
            return wide, wide.path(store)
    except (NotFoundError, StoreError) as error:
        if error.code == UNUSABLE:
            raise  # a store out of reach has damaged nothing
    store.delete(key)
    if wide is not None:
        store.delete(wide.table.file)
    return None


def _parse(data: bytes, key: str) -> Wide:
    record: dict[str, Any] = parse_json(data, where=key)
    try:
        scales = {name: (float(low), float(high)) for name, (low, high) in record["scales"].items()}
        tallied = {name: Tally.parse(each) for name, each in record["tallies"].items()}
        changed = {"table": DataFile(**record["table"]), "scales": scales, "ratings": tuple(record["ratings"])}
        return Wide(**record | changed | {"tallies": tallied})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{key} does not read as a wide table", code="damaged", hint="delete it") from error
