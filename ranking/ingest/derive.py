"""From staged rows to pairs, unique items and slices, in SQL. Writes tables of a connection, no files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from ranking import duck
from ranking.ingest.stage import StagedSource
from ranking.names import canonical_json, sha256_hex
from ranking.schema import ITEMS, PAIRS

_OUTPUT_ROWS = 65_536

# A field as "<bytes>:<text>", so that no two different rows spell the same; null differs from the empty text.
_SPELL = "CREATE MACRO spell(x) AS CASE WHEN x IS NULL THEN '-' ELSE strlen(x) || ':' || x END"
_HASH = "CREATE MACRO short_hash(x) AS substr(sha256(x), 1, 16)"

# `place` orders rows by source, then row; 2 * place + side does so for images.
_ROWS = """
CREATE TABLE new_rows AS
SELECT
    short_hash(spell(prompt) || spell(image_0_uid) || spell(image_1_uid)
        || CASE label_0 WHEN 1 THEN '0' WHEN 0 THEN '1' ELSE '=' END
        || spell(rater) || spell(epoch_us(created_at)::VARCHAR) || spell(ranking)) AS pair_id,
    short_hash(prompt) AS prompt_id,
    staged.* EXCLUDE (reason, ordinal, ranking),
    known.source, known.column_0, known.column_1,
    (known.source::BIGINT << 36) + staged.row AS place
FROM {staged} staged JOIN sources known USING (ordinal)
WHERE reason IS NULL
"""

_KEPT = """
CREATE TABLE kept AS
SELECT new_rows.* FROM new_rows
SEMI JOIN (SELECT min(place) AS place FROM new_rows GROUP BY pair_id) USING (place)
ANTI JOIN {earlier} earlier USING (pair_id)
"""

_FIRST = """
CREATE TABLE new_items AS
WITH appearances AS (
    SELECT image_0_uid AS image_uid, prompt_id, 2 * place AS spot FROM kept
    UNION ALL
    SELECT image_1_uid, prompt_id, 2 * place + 1 FROM kept
), firsts AS (
    SELECT image_uid, prompt_id, min(spot) AS spot FROM appearances GROUP BY ALL
), unseen AS (
    SELECT firsts.* FROM firsts ANTI JOIN {earlier} earlier USING (image_uid, prompt_id)
)
SELECT
    unseen.*, kept.prompt, kept.source, kept.row_group, kept.row,
    CASE spot % 2 WHEN 0 THEN column_0 ELSE column_1 END AS "column",
    row_number() OVER (ORDER BY spot) - 1 AS position,
    (row_number() OVER (PARTITION BY source ORDER BY spot) - 1) AS in_source
FROM unseen JOIN kept ON kept.place = spot // 2
"""

_SLICES = """
SELECT
    source, in_source // ? AS piece,
    min(position) AS start, count(*) AS n_rows, min(in_source) AS in_source,
    arg_min([image_uid, prompt_id], position) AS first_key,
    arg_max([image_uid, prompt_id], position) AS last_key
FROM new_items GROUP BY ALL ORDER BY start
"""

_PAIRS = """
SELECT
    pair_id, prompt_id, prompt, image_0_uid, image_1_uid, label_0, label_1,
    label_0 = label_1 AS is_tie,
    CASE WHEN label_0 > label_1 THEN 0 WHEN label_1 > label_0 THEN 1 END::TINYINT AS winner,
    rater, model_0, model_1, created_at, source, row
FROM kept ORDER BY place
"""

_ITEMS = """
SELECT image_uid, prompt_id, prompt, new_items.source, row_group, row, "column", unit AS "slice"
FROM new_items JOIN units ON new_items.source = units.source AND new_items.in_source // ? = units.piece
ORDER BY position
"""


@dataclass(frozen=True)
class NewSlice:
    """A slice before its items file has a name: rows `start` to `start + rows` of the new items."""

    unit: str
    source: int
    start: int
    rows: int


class Derivation:
    """The new pairs, items and slices of staged sources, given what earlier revisions hold."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        staged: Sequence[StagedSource],
        *,
        dataset: str,
        first_source: int,
        earlier_pairs: Sequence[Path],
        earlier_items: Sequence[Path],
        slice_items: int,
    ) -> None:
        """Sources get the indices `first_source`, `first_source` + 1 … in the order given."""
        self._con = con
        self._slice_items = slice_items
        sources = {
            "ordinal": pa.array([source.ordinal for source in staged], pa.int32()),
            "source": pa.array(range(first_source, first_source + len(staged)), pa.int32()),
            "column_0": pa.array([source.image_columns[0] for source in staged], pa.string()),
            "column_1": pa.array([source.image_columns[1] for source in staged], pa.string()),
        }
        con.execute(_SPELL)
        con.execute(_HASH)
        con.register("sources", pa.table(sources))
        con.execute(_ROWS.format(staged=duck.parquet_scan([source.staged for source in staged])))
        con.execute(_KEPT.format(earlier=_earlier(earlier_pairs, "pair_id")))
        con.execute(_FIRST.format(earlier=_earlier(earlier_items, "image_uid, prompt_id")))
        self.duplicates = self._count("new_rows") - self._count("kept")
        self.slices = self._cut(dataset, {first_source + i: source.sha256 for i, source in enumerate(staged)})

    def pairs(self) -> Iterator[pa.RecordBatch]:
        """The new pairs (PAIRS schema) by source and row."""
        for batch in self._con.sql(_PAIRS).to_arrow_reader(_OUTPUT_ROWS):
            yield batch.cast(PAIRS)

    def items(self) -> Iterator[pa.RecordBatch]:
        """The new items (ITEMS schema) in the order of first appearance, image 0 before image 1."""
        for batch in self._con.sql(_ITEMS, params=[self._slice_items]).to_arrow_reader(_OUTPUT_ROWS):
            yield batch.cast(ITEMS)

    def _count(self, table: str) -> int:
        return int(self._con.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0])

    def _cut(self, dataset: str, sha256: dict[int, str]) -> list[NewSlice]:
        pieces = duck.arrow(self._con, _SLICES, [self._slice_items])
        slices = []
        for piece in pieces.to_pylist():
            # Content only, so that a unit means the same items wherever and whenever it is met.
            identity = [dataset, sha256[piece["source"]], piece["in_source"], piece["n_rows"]]
            unit = sha256_hex(canonical_json([*identity, piece["first_key"], piece["last_key"]]))[:16]
            slices.append(NewSlice(unit, piece["source"], piece["start"], piece["n_rows"]))
        units = pa.array([piece.unit for piece in slices], pa.string())
        self._con.register("units", pieces.select(["source", "piece"]).append_column("unit", units))
        return slices


def _earlier(paths: Sequence[Path], columns: str) -> str:
    if paths:
        return f"(SELECT {columns} FROM {duck.parquet_scan(paths)})"
    nothing = ", ".join(f"NULL::VARCHAR AS {column}" for column in columns.split(", "))
    return f"(SELECT {nothing} WHERE false)"
