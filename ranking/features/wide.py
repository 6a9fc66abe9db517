"""The wide table: one row per pair with every scorer's scores, built once per snapshot. Derivable, so
deletable.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck
from ranking.datasets import Dataset, get_dataset
from ranking.errors import NotFoundError
from ranking.schema import PAIRS
from ranking.store.blobs import Store
from ranking.store.parquet import new_tmp, write_parquet
from ranking.store.snapshots import Snapshot

VERSION = 1  # raise it when the columns or their meaning change: cached tables are then stale
_OUTPUT_ROWS = 65_536


def wide_table(store: Store, snapshot: Snapshot, dataset: str) -> Path:
    """The Parquet file with one row per pair of `dataset` as the snapshot saw it, in the order of ingestion.

    Columns: PAIRS, then per scorer name s "s.0" and "s.1" (float32; null if unscored or bad), "s.gap"
    (float64, winner − loser by the human label; null for ties), "s.status_0" and "s.status_1" (null if
    unscored); then `votes` (scorers whose gap is not zero) and `agree_votes` (those whose gap is positive).
    Built on the first call; every file it reads is hashed first. NotFoundError if the snapshot does not have
    the dataset, StoreError if a file of it is damaged.
    """
    pinned = pinned_dataset(store, snapshot, dataset)
    key = f"wide/{snapshot.sha[:16]}/{dataset}.v{VERSION}.parquet"
    if store.exists(key):
        if _has_rows(store.local(key), pinned.n_pairs):
            return store.local(key)
        store.delete(key)  # a damaged cache is worth nothing
    finished = new_tmp(store)
    try:
        with duck.connect(temp_directory=store.tmp() / f"{finished.stem}.spill") as con:
            write_parquet(finished, wide_schema(snapshot), _rows(con, store, snapshot, pinned))
        store.put_file(key, finished)
    finally:
        finished.unlink(missing_ok=True)
    return store.local(key)


def wide_schema(snapshot: Snapshot) -> pa.Schema:
    """The columns of the snapshot's wide tables. Every scorer of the snapshot has its columns in every
    dataset.
    """
    columns = list(PAIRS)
    for name in snapshot.scorers:
        columns += [
            pa.field(f"{name}.0", pa.float32()),
            pa.field(f"{name}.1", pa.float32()),
            pa.field(f"{name}.gap", pa.float64()),
            pa.field(f"{name}.status_0", pa.string()),
            pa.field(f"{name}.status_1", pa.string()),
        ]
    return pa.schema([*columns, pa.field("votes", pa.int32()), pa.field("agree_votes", pa.int32())])


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


def _rows(
    con: duckdb.DuckDBPyConnection, store: Store, snapshot: Snapshot, dataset: Dataset
) -> Iterator[pa.RecordBatch]:
    # The image columns of two datasets may share keys, so only this dataset's units are read.
    units = {piece.unit for piece in dataset.slices}
    columns, joins = [], []
    for index, (name, scorer_id) in enumerate(snapshot.scorers.items()):
        members = [m for m in snapshot.members if m.scorer_id == scorer_id and m.unit in units]
        paths = [store.checked_path(member.file, member.sha256) for member in members]
        table = f"scores_{index}"
        con.execute(f"CREATE TABLE {table} AS SELECT * FROM {_scan_scores(paths)}")
        left, right = f"{table}_0", f"{table}_1"
        for side, alias in enumerate((left, right)):
            joins.append(
                f"LEFT JOIN {table} {alias} ON {alias}.image_uid = pairs.image_{side}_uid "
                f"AND {alias}.prompt_id = pairs.prompt_id"
            )
        columns += [
            f"{left}.score AS {duck.identifier(f'{name}.0')}",
            f"{right}.score AS {duck.identifier(f'{name}.1')}",
            f"{_gap(left, right)} AS {duck.identifier(f'{name}.gap')}",
            f"{left}.status AS {duck.identifier(f'{name}.status_0')}",
            f"{right}.status AS {duck.identifier(f'{name}.status_1')}",
        ]
    gaps = [duck.identifier(f"{name}.gap") for name in snapshot.scorers]
    joined = ", ".join(["pairs.*", *columns])
    query = f"""
        WITH joined AS (
            SELECT {joined} FROM {duck.parquet_scan(dataset.pairs_paths(store))} pairs {" ".join(joins)}
        )
        SELECT *, {_count(gaps, "<> 0")} AS votes, {_count(gaps, "> 0")} AS agree_votes
        FROM joined ORDER BY source, row
    """
    schema = wide_schema(snapshot)
    for batch in con.sql(query).to_arrow_reader(_OUTPUT_ROWS):
        yield batch.cast(schema)


def _gap(left: str, right: str) -> str:
    return (
        f"CASE pairs.winner WHEN 0 THEN {left}.score::DOUBLE - {right}.score::DOUBLE "
        f"WHEN 1 THEN {right}.score::DOUBLE - {left}.score::DOUBLE END"
    )


def _count(gaps: list[str], condition: str) -> str:
    terms = [f"coalesce(({gap} {condition})::INTEGER, 0)" for gap in gaps]
    return f"({' + '.join(['0', *terms])})::INTEGER"


def _scan_scores(paths: Sequence[Path]) -> str:
    if paths:
        return duck.parquet_scan(paths)
    return (
        "(SELECT NULL::VARCHAR AS image_uid, NULL::VARCHAR AS prompt_id, NULL::FLOAT AS score, "
        "NULL::VARCHAR AS status WHERE false)"
    )


def _has_rows(path: Path, rows: int) -> bool:
    try:
        return bool(pq.read_metadata(path).num_rows == rows)
    except (pa.ArrowException, OSError):
        return False
