"""From staged judgements to pairs, unique items and slices, in SQL. Writes tables of a connection, no files.

Texts stay in the staged files: what is sorted, grouped and joined are numbers, which is what lets ten million
judgements through a few gigabytes of memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking import duck
from ranking.ingest.stage import StagedSource
from ranking.names import canonical_json, sha256_hex
from ranking.schema import ITEMS, PAIRS

_OUTPUT_ROWS = 65_536
_SOURCE_BITS = 36
_BY_SIDE = {
    "image_uid": ("image_0_uid", "image_1_uid"),
    "row_group": ("row_group_0", "row_group_1"),
    "row": ("row_0", "row_1"),
    "column": ("column_0", "column_1"),
    "file": ("file_0", "file_1"),
}

# A field as "<bytes>:<text>", so that no two different rows spell the same; null differs from the empty text.
# An id is the first 64 bits of a SHA-256; as a number until it is written. An image is told apart by 128 bits.
_MACROS = """
CREATE MACRO spell(x) AS CASE WHEN x IS NULL THEN '-' ELSE strlen(x) || ':' || x END;
CREATE MACRO number_of(x) AS ('0x' || x)::UBIGINT;
CREATE MACRO short_hash(x) AS number_of(substr(sha256(x), 1, 16));
CREATE MACRO text_of(x) AS format('{:016x}', x);
CREATE MACRO image_key(x) AS md5_number(x);
"""

# `place` orders rows by source, then by their position there; 2 * place + side does so for images.
_STAGED = f"""
CREATE VIEW staged AS
SELECT rows.*, (known.source::BIGINT << {_SOURCE_BITS}) + rows.position AS place
FROM {{scan}} rows JOIN sources known USING (ordinal)
WHERE reason IS NULL
"""

_JUDGED = """
CREATE TABLE judged AS
SELECT
    place,
    short_hash(spell(prompt) || spell(image_0_uid) || spell(image_1_uid)
        || CASE label_0 WHEN 1 THEN '0' WHEN 0 THEN '1' ELSE '=' END
        || spell(rater) || spell(epoch_us(created_at)::VARCHAR) || spell(ranking)) AS pair,
    short_hash(prompt) AS prompt,
    image_key(image_0_uid) AS image_0, image_key(image_1_uid) AS image_1
FROM staged
"""

_KEPT = """
CREATE TABLE kept AS
SELECT judged.* FROM judged
SEMI JOIN (SELECT min(place) AS place FROM judged GROUP BY pair) USING (place)
ANTI JOIN (SELECT number_of(pair_id) AS pair FROM {earlier_pairs}) USING (pair)
"""

_EARLIER = """
CREATE TABLE earlier AS
SELECT image_key(image_uid) AS image, number_of(prompt_id) AS prompt, row_number() OVER () - 1 AS item
FROM {earlier_items}
"""

_FIRST = """
CREATE TABLE new_items AS
WITH appearances AS (
    SELECT image_0 AS image, prompt, 2 * place AS spot FROM kept
    UNION ALL
    SELECT image_1, prompt, 2 * place + 1 FROM kept
), firsts AS (
    SELECT image, prompt, min(spot) AS spot FROM appearances GROUP BY ALL
)
SELECT firsts.*, (SELECT count(*) FROM earlier) + row_number() OVER (ORDER BY spot) - 1 AS item
FROM firsts ANTI JOIN earlier USING (image, prompt)
"""

_PLACED = """
CREATE TABLE placed AS
WITH items AS (SELECT image, prompt, item FROM new_items UNION ALL FROM earlier)
SELECT place, pair, kept.prompt, first.item AS item_0, second.item AS item_1
FROM kept
JOIN items first ON first.image = image_0 AND first.prompt = kept.prompt
JOIN items second ON second.image = image_1 AND second.prompt = kept.prompt
"""

# Items of one source lie together, as its number leads their spot.
_SLICES = """
WITH numbered AS (
    SELECT item, (spot // 2) >> $bits AS source,
        item - min(item) OVER (PARTITION BY (spot // 2) >> $bits) AS in_source
    FROM new_items
), pieces AS (
    SELECT source, min(item) AS start, max(item) AS last, min(in_source) AS in_source
    FROM numbered GROUP BY source, in_source // $size
)
SELECT
    source::INTEGER AS source, start, last - start + 1 AS n_rows, in_source,
    [text_of(first.prompt), first.image::VARCHAR] AS first_key,
    [text_of(final.prompt), final.image::VARCHAR] AS last_key
FROM pieces JOIN new_items first ON first.item = start JOIN new_items final ON final.item = last
ORDER BY start
"""

_PLACED_IN_ORDER = """
SELECT place AS spot, text_of(pair) AS pair_id, text_of(prompt) AS prompt_id, item_0, item_1 FROM placed ORDER BY place
"""

_ITEMS_IN_ORDER = "SELECT spot, text_of(prompt) AS prompt_id FROM new_items ORDER BY item"


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
        self._sources = [(first_source + i, source.judgements) for i, source in enumerate(staged)]
        sources = {
            "ordinal": pa.array([source.ordinal for source in staged], pa.int32()),
            "source": pa.array(range(first_source, first_source + len(staged)), pa.int32()),
        }
        con.execute(_MACROS)
        con.register("sources", pa.table(sources))
        con.execute(_STAGED.format(scan=duck.parquet_scan([source.judgements for source in staged])))
        con.execute(_JUDGED)
        con.execute(_KEPT.format(earlier_pairs=_earlier(earlier_pairs, "pair_id")))
        self.duplicates = self._count("judged") - self._count("kept")
        con.execute("DROP TABLE judged")
        con.execute(_EARLIER.format(earlier_items=_earlier(earlier_items, "image_uid, prompt_id")))
        con.execute(_FIRST)
        con.execute(_PLACED)
        con.execute("DROP TABLE kept")
        self._first_item = self._count("earlier")
        con.execute("DROP TABLE earlier")
        self.slices = self._cut(
            dataset, {first_source + i: source.sha256 for i, source in enumerate(staged)}, slice_items
        )

    def pairs(self) -> Iterator[pa.RecordBatch]:
        """The new pairs (PAIRS schema) by source and row."""
        for derived, rows, _ in self._beside(_PLACED_IN_ORDER, 1):
            first, second = rows["label_0"], rows["label_1"]
            known = {
                "is_tie": pc.equal(first, second),
                "winner": pc.case_when(
                    pc.make_struct(pc.greater(first, second), pc.greater(second, first)),
                    pa.scalar(0, pa.int8()),
                    pa.scalar(1, pa.int8()),
                ),
            }
            yield _batch(PAIRS, known, derived, rows)

    def items(self) -> Iterator[pa.RecordBatch]:
        """The new items (ITEMS schema) in the order of first appearance, image 0 before image 1."""
        units = pa.array([piece.unit for piece in self.slices], pa.string())
        ends = np.cumsum([piece.rows for piece in self.slices])
        done = 0
        for derived, rows, sides in self._beside(_ITEMS_IN_ORDER, 2):
            positions = np.arange(done, done + derived.num_rows)
            done += derived.num_rows
            known = {"slice": units.take(pa.array(np.searchsorted(ends, positions, side="right")))}
            for name, sources in _BY_SIDE.items():
                known[name] = pc.if_else(sides, rows[sources[1]], rows[sources[0]])
            yield _batch(ITEMS, known, derived, rows)

    def _beside(self, query: str, sides: int) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch, pa.Array]]:
        """The rows of a query (a `spot` that rises) and, beside each, the staged row it stands for and its side."""
        staged = _Staged(self._sources)
        for derived in self._con.sql(query).to_arrow_reader(_OUTPUT_ROWS):
            spots = derived["spot"].to_numpy()
            yield derived, staged.rows_at(spots // sides), pa.array(spots % sides == 1)

    def _count(self, table: str) -> int:
        return int(self._con.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0])

    def _cut(self, dataset: str, sha256: dict[int, str], size: int) -> list[NewSlice]:
        slices = []
        for piece in self._con.sql(_SLICES, params={"size": size, "bits": _SOURCE_BITS}).to_arrow_table().to_pylist():
            # Content only, so that a unit means the same items wherever and whenever it is met.
            identity = [dataset, sha256[piece["source"]], piece["in_source"], piece["n_rows"]]
            unit = sha256_hex(canonical_json([*identity, piece["first_key"], piece["last_key"]]))[:16]
            start = piece["start"] - self._first_item
            slices.append(NewSlice(unit, piece["source"], start, piece["n_rows"]))
        return slices


class _Staged:
    """The staged rows, asked for by rising place and read once through."""

    def __init__(self, sources: Sequence[tuple[int, Path]]) -> None:
        self._batches = self._read(sources)
        self._places, self._rows = next(self._batches)

    def rows_at(self, places: npt.NDArray[np.int64]) -> pa.RecordBatch:
        """The rows at these places, which rise (two may be equal) from call to call."""
        parts = []
        while len(places):
            here = int(np.searchsorted(places, self._places[-1], side="right"))
            if here:
                parts.append(self._rows.take(pa.array(np.searchsorted(self._places, places[:here]))))
            places = places[here:]
            if len(places):
                self._places, self._rows = next(self._batches)
        return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]

    def _read(self, sources: Sequence[tuple[int, Path]]) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
        for source, path in sources:
            # Reading ahead would hold the whole file by the end of it.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=_OUTPUT_ROWS):
                    numbers = pa.array(np.full(batch.num_rows, source, np.int32))
                    places = (source << _SOURCE_BITS) + batch["position"].to_numpy()
                    yield places, batch.append_column("source", numbers)


def _batch(
    schema: pa.Schema, known: Mapping[str, pa.Array], derived: pa.RecordBatch, rows: pa.RecordBatch
) -> pa.RecordBatch:
    columns = {name: derived[name] for name in derived.schema.names} | dict(known)
    arrays = [columns[name] if name in columns else rows[name] for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, names=schema.names).cast(schema)


def _earlier(paths: Sequence[Path], columns: str) -> str:
    if paths:
        return f"(SELECT {columns} FROM {duck.parquet_scan(paths)})"
    nothing = ", ".join(f"NULL::VARCHAR AS {column}" for column in columns.split(", "))
    return f"(SELECT {nothing} WHERE false)"
