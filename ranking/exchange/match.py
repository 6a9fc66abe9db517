"""From rows of somebody's table to the items of a dataset, in SQL over an in-memory DuckDB. Commits nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ranking import duck
from ranking.datasets import Dataset
from ranking.errors import SourceError
from ranking.exchange.given import BY_IMAGE, BY_ITEM, BY_PAIR
from ranking.schema import NON_FINITE, NOT_GIVEN, OK, STATUSES
from ranking.store.blobs import Store

NOTHING: Final = -1
_SOURCE_BITS: Final = 36
_BATCH: Final = 65_536
_CODES: Final = {word: code for code, word in enumerate(STATUSES) if word not in (OK, NOT_GIVEN)}


@dataclass(frozen=True)
class Staged:
    """A staged table (`given.GIVEN`): its file, its key (`given.BY_ITEM` …) and where it came from."""

    path: Path
    form: str
    uri: str


@dataclass(frozen=True)
class Matched:
    """What tables say of the n items of a dataset: `values` float32 of shape (n,), NaN where there is no score;
    `status` int8 of shape (n,), a position in schema.STATUSES or NOTHING; `digest`, the SHA-256 of all that is not
    NOTHING, the same for the same scores of the same items in whatever order or form; how many rows are of no item."""

    values: npt.NDArray[np.float32]
    status: npt.NDArray[np.int8]
    digest: str
    unknown: int


# An image is told apart by 128 bits, a prompt or pair by the 64 of its id.
_TABLES: Final = f"""
CREATE MACRO number_of(x) AS TRY_CAST('0x' || x AS UBIGINT);
CREATE TABLE items AS
SELECT md5_number(image_uid) AS image, number_of(prompt_id) AS words, row_number() OVER () - 1 AS item
FROM {{items}};
CREATE MACRO place_of(file, number) AS (file::BIGINT << {_SOURCE_BITS}) + number;
CREATE TABLE told (place BIGINT, item BIGINT, score FLOAT, status VARCHAR);
"""
_BY_FORM: Final = {
    BY_ITEM: """
INSERT INTO told SELECT place_of(ordinal, row), item, score_0, status_0
FROM {given} LEFT JOIN items
    ON md5_number(image_uid) = image AND number_of(coalesce(prompt_id, substr(sha256(prompt), 1, 16))) = words
""",
    BY_IMAGE: """
INSERT INTO told SELECT place_of(ordinal, row), item, score_0, status_0
FROM {given} LEFT JOIN items ON md5_number(image_uid) = image
""",
    BY_PAIR: """
INSERT INTO told
WITH judged AS (
    SELECT place_of(given.ordinal, given.row) AS place, given.*, item_0, item_1
    FROM {given} given LEFT JOIN {pairs} pairs ON number_of(given.pair_id) = number_of(pairs.pair_id)
)
SELECT place, item_0, score_0, status_0 FROM judged UNION ALL SELECT place, item_1, score_1, status_1 FROM judged
""",
}
# Minus zero equals zero for DuckDB, and arg_min would give the one for the other; not-a-number equals itself.
_FOUND: Final = """
CREATE TABLE found AS
SELECT item, min(score) < max(score) AS differs,
    CASE WHEN min(score) = 0 AND bool_or(signbit(score)) THEN '-0'::FLOAT ELSE any_value(score) END AS score,
    arg_min(status, place) FILTER (score IS NULL AND status IS NOT NULL) AS status
FROM told WHERE item IS NOT NULL AND (score IS NOT NULL OR status IS NOT NULL)
GROUP BY item
"""
_CONFLICT: Final = """
SELECT place, score, first_place, first_score
FROM (
    SELECT told.*, first_value(score) OVER earlier AS first_score, first_value(place) OVER earlier AS first_place
    FROM told SEMI JOIN (SELECT item FROM found WHERE differs) USING (item) WHERE score IS NOT NULL
    WINDOW earlier AS (PARTITION BY item ORDER BY place)
) WHERE score <> first_score ORDER BY place LIMIT 1
"""


def match(
    con: duckdb.DuckDBPyConnection, store: Store, dataset: Dataset, staged: Sequence[Staged], *, allow_unknown: bool
) -> Matched:
    """Find the items that the rows are of. SourceError, naming the first, for two scores of one item, and for rows of
    no item unless `allow_unknown`."""
    items, pairs = (duck.parquet_scan(paths(store)) for paths in (dataset.items_paths, dataset.pairs_paths))
    con.execute(_TABLES.format(items=items))
    for form, query in _BY_FORM.items():
        paths = [each.path for each in staged if each.form == form]
        if paths:
            con.execute(query.format(given=duck.parquet_scan(paths), pairs=pairs))

    def name(place: int) -> str:
        return f"{staged[place >> _SOURCE_BITS].uri} row {place & (1 << _SOURCE_BITS) - 1}"

    query = "SELECT count(DISTINCT place), min(place) FROM told WHERE item IS NULL"
    unknown, first = con.sql(query).fetchall()[0]
    if unknown and not allow_unknown:
        raise SourceError(
            f"{unknown:,} rows are of no item of dataset {dataset.name}, the first is {name(first)}",
            code="unknown-items",
            hint="check the dataset and the columns, or leave those rows out with --allow-unknown",
        )
    con.execute(_FOUND)
    for place, score, earlier, before in con.sql(_CONFLICT).fetchall():
        raise SourceError(
            f"source {name(place)} gives {score:g} to an image and prompt that {name(earlier)} gives {before:g}",
            code="conflicting-scores",
            hint="an image has one score under a prompt: correct the file",
        )
    con.execute("DROP TABLE told")
    values, status = _vectors(con, dataset.n_items)
    digest = _digest(con, items, values, status)
    return Matched(values, status, digest, int(unknown))


def _vectors(con: duckdb.DuckDBPyConnection, n: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    values, status = np.full(n, np.nan, np.float32), np.full(n, NOTHING, np.int8)
    words = pa.array(list(_CODES))
    for batch in con.sql("SELECT item, score, status FROM found").to_arrow_reader(_BATCH):
        items = batch["item"].to_numpy()
        scored = batch["score"].is_valid().to_numpy(zero_copy_only=False)
        scores = batch["score"].fill_null(0).to_numpy()
        said = pc.fill_null(pc.index_in(batch["status"], words), NOTHING).to_numpy()
        codes = np.append(np.array(list(_CODES.values())), NOTHING)[said]
        finite = np.where(np.isfinite(scores), STATUSES.index(OK), STATUSES.index(NON_FINITE))
        status[items] = np.where(scored, finite, codes)
        values[items] = np.where(scored & np.isfinite(scores), scores, np.nan)
    return values, status


def _digest(
    con: duckdb.DuckDBPyConnection, items: str, values: npt.NDArray[np.float32], status: npt.NDArray[np.int8]
) -> str:
    """The SHA-256 over five columns of the items that something is given for, sorted by image and prompt: the lengths
    of the uids, the uids, the prompt ids, the scores (zero where there is none) and the statuses."""
    columns = [hashlib.sha256() for _ in range(5)]
    spelled = np.array([*(f"{word}\n" for word in STATUSES)], dtype=object)
    con.register("given_items", pa.table({"item": np.flatnonzero(status != NOTHING)}))
    numbered = f"(SELECT image_uid, prompt_id, row_number() OVER () - 1 AS item FROM {items})"
    query = f"""
        SELECT item, image_uid, prompt_id FROM {numbered} SEMI JOIN given_items USING (item)
        ORDER BY image_uid, prompt_id"""
    for batch in con.sql(query).to_arrow_reader(_BATCH):
        item = batch["item"].to_numpy()
        columns[0].update(pc.binary_length(batch["image_uid"]).to_numpy().astype("<i4").tobytes())
        columns[1].update("".join(batch["image_uid"].to_pylist()).encode())
        columns[2].update("".join(batch["prompt_id"].to_pylist()).encode())
        columns[3].update(np.nan_to_num(values[item], nan=0.0).astype("<f4").tobytes())
        columns[4].update("".join(spelled[status[item]].tolist()).encode())
    con.unregister("given_items")
    return hashlib.sha256(b"".join(column.digest() for column in columns)).hexdigest()
