"""The cells of one Parquet source that hold images: what lies where a pointer leads. Nothing that the file says of
itself is believed without a bound."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import SourceError
from ranking.images.cells import footer as footers
from ranking.images.cells.footer import Footer
from ranking.images.cells.pages import UnknownEncodingError, check_pages, read_cells
from ranking.images.cells.views import PageError
from ranking.images.decode import MAX_BYTES, Found, too_large

__all__ = ["Footer", "read_footer", "read_images"]

_ROWS_AT_ONCE = 16  # of a layout that is left to pyarrow


def read_footer(file: BinaryIO, uri: str) -> Footer:
    """The footer of an open Parquet file; SourceError if it is none, or is damaged."""
    try:
        return footers.read_footer(file)
    except (PageError, OSError) as error:
        raise _unreadable(uri, str(error)) from error


def read_images(
    file: BinaryIO, uri: str, footer: Footer, *, row_group: int, column: str, rows: Sequence[int]
) -> Iterator[tuple[int, Found]]:
    """The cells of one column at `rows` of the source (ascending, all in `row_group`), one at a time.

    Of the pages before them only the headers are read, and of a large page little more than the cells: one picture
    costs the same in a row group of a hundred and of thousands. A cell of more than 20 MB is an ImageError and not
    copied. Raises SourceError for a pointer that leads nowhere and for a file that is damaged.
    """

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        data = file.read(size)
        if len(data) != size:
            raise PageError("the file ends early")
        return data

    if column not in footer.columns:
        reason = "holds no bytes, or several a row" if column in footer.others else "is not there"
        raise _unreadable(uri, f"column {column} {reason}")
    if not 0 <= row_group < len(footer.starts) - 1:
        raise _unreadable(uri, f"it has no row group {row_group}")
    start, end = footer.starts[row_group : row_group + 2]
    if not rows or rows[0] < start or rows[-1] >= end:
        raise _unreadable(uri, f"row group {row_group} does not hold the rows asked for")
    levels, chunks = footer.columns[column]
    chunk, remote = chunks[row_group], "://" in uri
    left = [row - start for row in rows]
    try:
        try:
            for row, cell in read_cells(read_at, chunk, left.copy(), levels=levels, remote=remote, most=MAX_BYTES):
                yield start + row, too_large(cell) if isinstance(cell, int) else cell
                del left[0]
        except UnknownEncodingError:
            check_pages(read_at, chunk)
            for row, found in _by_pyarrow(file, row_group, column, left):
                yield start + row, found
    except (PageError, pa.ArrowException, OSError) as error:
        raise _unreadable(uri, str(error)) from error


def _unreadable(uri: str, reason: str) -> SourceError:
    return SourceError(f"source {uri} cannot be read ({reason})", hint="check the file")


def _by_pyarrow(file: BinaryIO, row_group: int, column: str, rows: Sequence[int]) -> Iterator[tuple[int, Found]]:
    before, wanted = 0, set(rows)
    reader = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
    options = {"batch_size": _ROWS_AT_ONCE, "row_groups": [row_group], "columns": [column], "use_threads": False}
    for batch in reader.iter_batches(**options):
        values = batch.column(0)
        for row in range(before, before + batch.num_rows):
            if row in wanted:
                yield row, _inner(values[row - before])
        before += batch.num_rows
        if before > rows[-1]:
            return


def _inner(cell: pa.Scalar) -> Found:
    while isinstance(cell, pa.StructScalar) and cell.is_valid:
        cell = next(iter(cell.values()))  # one column was asked for, so each struct has one field
    if not cell.is_valid:
        return None
    size = len(cell.as_buffer())
    return too_large(size) if size > MAX_BYTES else bytes(cell.as_buffer())
