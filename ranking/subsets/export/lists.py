"""Exports without images: the ids of a subset's pairs as text, their metadata as a table."""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.csv as csv

from ranking.subsets.export.folder import File, Folder
from ranking.subsets.export.rows import METADATA, Rows
from ranking.subsets.export.sink import HashingFile

PAIR_IDS: Final = "pair_ids.txt"
TABLE: Final = "pairs.csv"


def write_lists(folder: Folder, rows: Rows) -> tuple[File, ...]:
    """`pair_ids.txt`, and `pairs.csv` with METADATA: what another copy of the images needs to pick the same pairs."""
    ids = HashingFile(folder.path(PAIR_IDS), PAIR_IDS)
    for lines in _pair_id_lines(rows):
        ids.write(lines)
    sink = HashingFile(folder.path(TABLE), TABLE)
    with csv.CSVWriter(pa.PythonFile(sink, mode="w"), METADATA) as table:
        for batch in rows.metadata():
            table.write_batch(batch)
    return ids.done(), sink.done()


def _pair_id_lines(rows: Rows) -> Iterator[bytes]:
    """The pair ids, the best first, a line each, in pieces of up to 65,536 lines."""
    for batch in rows.metadata():
        yield "".join(f"{pair}\n" for pair in batch["pair_id"].to_pylist()).encode()
