"""Commits: a slice's scores by one scorer become real when its marker appears. Not where they are
computed."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import StoreError
from ranking.names import canonical_json, check_id, check_scorer_id, parse_json, sha256_file, utc_now
from ranking.schema import OK, SCORES, STATUSES
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile, new_tmp, put_content, write_parquet
from ranking.store.trash import settle


@dataclass(frozen=True)
class Commit:
    """A marker: whose scores of which unit are in which file. `n_bad` counts rows whose status is not
    "ok"."""

    scorer_id: str
    unit: str
    file: str
    sha256: str
    bytes: int
    rows: int
    n_bad: int
    attempt: str
    created: str


def commit_scores(
    store: Store, *, scorer_id: str, unit: str, table: pa.Table, attempt: str, items: pa.Table | None = None
) -> bool:
    """Make one unit's scores real. True if this call did it, False if another commit of the unit was there
    first.

    `table` has exactly the SCORES schema. With `items` (the slice's items) its keys must be those of the
    items. Raises StoreError, and leaves nothing visible, for duplicate keys, a NaN or infinite score, an
    unknown status or a score that is present unless its status is "ok".
    """
    key = _marker(scorer_id, unit)
    if store.exists(key):
        return False
    _check(table, items, where=f"scores of unit {unit} by {scorer_id}")
    data = _put_data(store, table.cast(SCORES), scorer_id=scorer_id, unit=unit)
    n_bad = table.num_rows - (pc.sum(pc.equal(table["status"], OK)).as_py() or 0)
    commit = Commit(scorer_id, unit, data.file, data.sha256, data.bytes, data.rows, n_bad, attempt, utc_now())
    if not store.put_if_absent(key, canonical_json(asdict(commit))):
        return False
    # A collection may have taken the file while nothing named it; now that something does, none will.
    if not store.exists(data.file):
        again = _put_data(store, table.cast(SCORES), scorer_id=scorer_id, unit=unit)
        if again != data:
            settle(store, [data.file])
    return True


def _put_data(store: Store, table: pa.Table, *, scorer_id: str, unit: str) -> DataFile:
    path = new_tmp(store)
    try:
        write_parquet(path, table.schema, table.to_batches())
        # Read back what the disk holds before any marker can name it.
        written = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        if not written.equals(table):
            raise StoreError(f"scores of unit {unit} by {scorer_id} were not written as given", code="damaged")
        sha256, size = sha256_file(path), path.stat().st_size
        file = f"data/{scorer_id}/{unit}/{sha256}.parquet"
        put_content(store, file, path, sha256=sha256)
    finally:
        path.unlink(missing_ok=True)
    return DataFile(file, sha256, size, table.num_rows)


def is_committed(store: Store, *, scorer_id: str, unit: str) -> bool:
    """Whether the unit's scores by this scorer are real."""
    return store.exists(_marker(scorer_id, unit))


def get_commit(store: Store, *, scorer_id: str, unit: str) -> Commit:
    """The marker of one unit; NotFoundError if it is not committed."""
    key = _marker(scorer_id, unit)
    return _parse(store.get(key), key)


def committed_units(store: Store, scorer_id: str) -> set[str]:
    """The units that this scorer has committed, from the markers' names alone."""
    keys = store.list(f"commits/{check_scorer_id(scorer_id)}")
    return {key.rpartition("/")[2].removesuffix(".json") for key in keys}


def list_commits(store: Store) -> list[Commit]:
    """Every marker of the store, sorted by scorer id and unit."""
    return [_parse(store.get(key), key) for key in store.list("commits")]


def _marker(scorer_id: str, unit: str) -> str:
    return f"commits/{check_scorer_id(scorer_id)}/{check_id('unit', unit)}.json"


def _parse(data: bytes, key: str) -> Commit:
    value: dict[str, Any] = parse_json(data, where=key)
    try:
        commit = Commit(**value)
    except TypeError as error:
        raise StoreError(
            f"{key} does not read as a commit", code="damaged", hint="restore it from a copy of the store"
        ) from error
    if key != f"commits/{commit.scorer_id}/{commit.unit}.json":
        raise StoreError(
            f"{key} names another unit or scorer", code="damaged", hint="restore it from a copy of the store"
        )
    return commit


def _check(table: pa.Table, items: pa.Table | None, *, where: str) -> None:
    def refuse(reason: str) -> StoreError:
        return StoreError(f"{where}: {reason}", code="bad-scores", hint="nothing was committed; this is a scorer bug")

    if not table.schema.equals(SCORES):
        raise refuse(f"columns are {_columns(table.schema)}, not {_columns(SCORES)}")
    if any(table[name].null_count for name in ("image_uid", "prompt_id", "status")):
        raise refuse("a key or status is null")
    if table.group_by(["image_uid", "prompt_id"]).aggregate([]).num_rows != table.num_rows:
        raise refuse("an (image, prompt) occurs twice")
    unknown = sorted(set(pc.unique(table["status"]).to_pylist()) - set(STATUSES))
    if unknown:
        raise refuse(f"unknown status {', '.join(unknown)}")
    if pc.any(pc.invert(pc.is_finite(table["score"]))).as_py():
        raise refuse("a score is NaN or infinite")
    if pc.any(pc.not_equal(pc.is_valid(table["score"]), pc.equal(table["status"], OK))).as_py():
        raise refuse("a score is present without status ok, or the other way round")
    if items is not None:
        if items.num_rows != table.num_rows:
            raise refuse(f"{table.num_rows} rows for {items.num_rows} items")
        keys = ["image_uid", "prompt_id"]
        if table.select(keys).join(items.select(keys), keys, join_type="left anti").num_rows:
            raise refuse("the keys are not those of the slice's items")


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
