"""Commits: a slice's scores by one scorer, the facts of its images or its embeddings become real when a marker appears.
Not where they are computed."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import StoreError, UsageError
from ranking.names import canonical_json, check_id, check_scorer_id, parse_json, sha256_file, utc_now
from ranking.schema import EMBEDDING_PREFIX, FACTS, FACTS_NAME, OK, SCORES, STATUSES
from ranking.store.blobs import Store
from ranking.store.parquet import LASTING, VECTORS, DataFile, put_content, write_parquet, writing
from ranking.store.shards import EMBEDDING_SHARD, FACT_SHARD, embedding_flaw, holds_scores, kind_of
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

    `table` has exactly the SCORES schema. With `items` (the slice's items) its keys must be those of the items, and
    its rows are committed in their order; whatever is not a test gives them, because later readers join by position.
    Raises StoreError, and leaves nothing visible, for duplicate keys, a NaN or infinite score, an unknown status or
    a score that is present unless its status is "ok".
    """
    if not holds_scores(scorer_id):
        what = kind_of(scorer_id).what
        raise UsageError(f"{scorer_id} is no scorer", code="bad-name", hint=f"that name is kept for {what}")
    if is_committed(store, scorer_id=scorer_id, unit=unit):
        return False
    where = f"scores of unit {unit} by {scorer_id}"
    _check(table, where=where)
    if items is not None:
        table = _in_order_of(items, table, where=where)
    return _commit_table(store, table.cast(SCORES), scorer_id=scorer_id, unit=unit, attempt=attempt)


def commit_facts(store: Store, *, facts_id: str, unit: str, table: pa.Table, attempt: str, items: pa.Table) -> bool:
    """Make the facts of one unit's images real, by the protocol and under the markers of scores. True if this call
    did it.

    `facts_id` is ranking.images.facts.FACTS_ID. `table` has exactly the FACTS schema, one row for each image of
    `items` (the slice's items) in the order of first appearance. Raises StoreError, and leaves nothing visible, for
    other rows, an unknown status, or dimensions and hashes that do not go with the status.
    """
    if kind_of(facts_id) is not FACT_SHARD:
        raise UsageError(f"{facts_id} is not an id of image facts", code="bad-name", hint=f"it begins {FACTS_NAME}@")
    if is_committed(store, scorer_id=facts_id, unit=unit):
        return False
    _check_facts(table, items, where=f"image facts of unit {unit}")
    return _commit_table(store, table.cast(FACTS), scorer_id=facts_id, unit=unit, attempt=attempt)


def commit_embeddings(
    store: Store, *, embedding_id: str, unit: str, table: pa.Table, attempt: str, items: pa.Table
) -> bool:
    """Make one unit's embeddings real, by the protocol and under the markers of scores. True if this call did it.

    `embedding_id` begins `embedding-`. `table` has exactly the EMBEDDINGS schema: one row for each image of `items`
    (the slice's items), then one for each prompt, in the order of first appearance. Raises StoreError, and leaves
    nothing visible, for other rows, an unknown status, or vectors that are not of one dimension, finite and of length
    1 as far as float16 tells (`shards.UNIT_LENGTH`).
    """
    if kind_of(embedding_id) is not EMBEDDING_SHARD:
        raise UsageError(f"{embedding_id} is no embedding", code="bad-name", hint=f"its id begins {EMBEDDING_PREFIX}")
    if is_committed(store, scorer_id=embedding_id, unit=unit):
        return False
    _check_embeddings(table, items, where=f"embeddings of unit {unit} as {embedding_id}")
    return _commit_table(store, table, scorer_id=embedding_id, unit=unit, attempt=attempt)


def _commit_table(store: Store, table: pa.Table, *, scorer_id: str, unit: str, attempt: str) -> bool:
    data = _put_data(store, table, scorer_id=scorer_id, unit=unit)
    n_bad = table.num_rows - (pc.sum(pc.equal(table["status"], OK)).as_py() or 0)
    commit = Commit(scorer_id, unit, data.file, data.sha256, data.bytes, data.rows, n_bad, attempt, utc_now())
    if not store.put_if_absent(_marker(scorer_id, unit), canonical_json(asdict(commit))):
        return False
    # A collection may have taken the file while nothing named it; now that something does, none will.
    if not store.exists(data.file):
        again = _put_data(store, table, scorer_id=scorer_id, unit=unit)
        if again != data:
            settle(store, [data.file])
    return True


def _put_data(store: Store, table: pa.Table, *, scorer_id: str, unit: str) -> DataFile:
    with writing(store, f"the rows of unit {unit} by {scorer_id}") as path:
        layout = VECTORS if kind_of(scorer_id) is EMBEDDING_SHARD else LASTING
        write_parquet(path, table.schema, table.to_batches(), layout=layout)
        # Read back what the disk holds before any marker can name it.
        written = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        if not written.equals(table):
            raise StoreError(f"the rows of unit {unit} by {scorer_id} were not written as given", code="damaged")
        sha256, size = sha256_file(path), path.stat().st_size
        file = f"data/{scorer_id}/{unit}/{sha256}.parquet"
        put_content(store, file, path, sha256=sha256)
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
    keys = store.list("commits")
    return [_parse(data, key) for key, data in zip(keys, store.get_all(keys), strict=True)]


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


def _check(table: pa.Table, *, where: str) -> None:
    _check_shape(table, SCORES, where=where)
    if any(table[name].null_count for name in ("image_uid", "prompt_id", "status")):
        raise _refusal("a key or status is null", where=where)
    if table.group_by(["image_uid", "prompt_id"]).aggregate([]).num_rows != table.num_rows:
        raise _refusal("an (image, prompt) occurs twice", where=where)
    _check_statuses(table, where=where)
    if pc.any(pc.invert(pc.is_finite(table["score"]))).as_py():
        raise _refusal("a score is NaN or infinite", where=where)
    if pc.any(pc.not_equal(pc.is_valid(table["score"]), pc.equal(table["status"], OK))).as_py():
        raise _refusal("a score is present without status ok, or the other way round", where=where)


def _in_order_of(items: pa.Table, table: pa.Table, *, where: str) -> pa.Table:
    if items.num_rows != table.num_rows:
        raise _refusal(f"{table.num_rows} rows for {items.num_rows} items", where=where)
    keys = ["image_uid", "prompt_id"]
    wanted = items.select(keys).cast(table.select(keys).schema)
    if wanted.equals(table.select(keys)):
        return table
    place = pa.array(range(items.num_rows), pa.int64())
    found = wanted.append_column("place", place).join(table, keys, join_type="inner")
    if found.num_rows != items.num_rows:
        raise _refusal("the keys are not those of the slice's items", where=where)
    return found.sort_by("place").select(SCORES.names)


def _check_facts(table: pa.Table, items: pa.Table, *, where: str) -> None:
    _check_shape(table, FACTS, where=where)
    _check_statuses(table, where=where)
    if not table.select(["image_uid"]).equals(FACT_SHARD.keys(items)):
        raise _refusal("the rows are not the images of the slice in order of first appearance", where=where)
    good = pc.equal(table["status"], OK)
    for name in ("width", "height", "phash"):
        if pc.any(pc.not_equal(pc.is_valid(table[name]), good)).as_py():
            raise _refusal(f"a {name} is present without status ok, or the other way round", where=where)
    unread = pc.or_(pc.is_null(table["bytes"]), pc.is_null(table["sha256"]))
    if pc.any(pc.and_(good, unread)).as_py():
        raise _refusal("an image with status ok lacks its size or sha256", where=where)


def _check_embeddings(table: pa.Table, items: pa.Table, *, where: str) -> None:
    _check_shape(table, EMBEDDING_SHARD.schema, where=where)
    _check_statuses(table, where=where)
    if not table.select(["kind", "key"]).equals(EMBEDDING_SHARD.keys(items)):
        raise _refusal("the rows are not the images, then the prompts, in order of first appearance", where=where)
    flaw = embedding_flaw(table)
    if flaw:
        raise _refusal(flaw, where=where)


def _check_shape(table: pa.Table, schema: pa.Schema, *, where: str) -> None:
    if not table.schema.equals(schema):
        raise _refusal(f"columns are {_columns(table.schema)}, not {_columns(schema)}", where=where)


def _check_statuses(table: pa.Table, *, where: str) -> None:
    if table["status"].null_count:
        raise _refusal("a status is null", where=where)
    unknown = sorted(set(pc.unique(table["status"]).to_pylist()) - set(STATUSES))
    if unknown:
        raise _refusal(f"unknown status {', '.join(unknown)}", where=where)


def _refusal(reason: str, *, where: str) -> StoreError:
    return StoreError(f"{where}: {reason}", code="bad-scores", hint="nothing was committed; this is a bug")


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
