"""What a Parquet file says of itself, read without pyarrow: that ends the process on some damaged footers, and the
service reads sources too. Knows where the columns of bytes lie, and nothing else."""

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

from ranking.images.cells.thrift import Reader, ThriftError
from ranking.images.cells.views import PageError

_LARGEST = 32 << 20  # bytes
_MOST_ROWS = 1 << 40
_BYTES, _REPEATED, _OPTIONAL = 6, 2, 1
_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")


@dataclass(frozen=True)
class Chunk:
    """The part of a column in one row group: where it begins and ends in the file, and how it is compressed."""

    start: int
    end: int
    codec: str


@dataclass(frozen=True)
class Footer:
    """`starts[i]` rows lie before row group i, and the last of `starts` is the number of rows. `columns` gives, for
    each column of bytes by its dotted path, the definition level at which a cell is not null and its chunk in each row
    group; `others` are the columns of other types, with repetition, or whose name is not their own."""

    starts: tuple[int, ...]
    columns: dict[str, tuple[int, tuple[Chunk, ...]]]
    others: frozenset[str]


def read_footer(file: BinaryIO) -> Footer:
    """The footer of an open file; PageError if it is none, or too large to be honest; OSError."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise PageError("it is not a Parquet file")
    length = int.from_bytes(tail[:4], "little")
    if length > _LARGEST:
        raise PageError(f"its footer claims more than {_LARGEST >> 20} MB")
    if length > size - 12:
        raise PageError("its footer claims more than the file")
    file.seek(size - 8 - length)
    try:
        return _footer(Reader(file.read(length)).struct(), size - 8 - length)
    except (ThriftError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PageError("its footer is damaged") from error


def _footer(fields: dict[int, Any], end: int) -> Footer:
    leaves = _leaves(fields[2])
    names = Counter(path for path, _ in leaves)
    leaves = [(path, levels if names[path] == 1 else None) for path, levels in leaves]
    starts = [0]
    chunks: dict[str, list[Chunk]] = {path: [] for path, levels in leaves if levels is not None}
    for group in fields[4]:
        if not 0 <= group[3] <= _MOST_ROWS or len(group[1]) != len(leaves):
            raise ValueError
        starts.append(starts[-1] + group[3])
        for (path, levels), column in zip(leaves, group[1], strict=True):
            if levels is not None:
                chunks[path].append(_chunk(column, end))
    columns = {path: (levels, tuple(chunks[path])) for path, levels in leaves if levels is not None}
    return Footer(tuple(starts), columns, frozenset(path for path, levels in leaves if levels is None))


def _chunk(column: dict[int, Any], end: int) -> Chunk:
    about = column[3]
    if column.get(1) or about[1] != _BYTES:  # in another file, or of another type than the schema says
        raise ValueError
    start = min(offset for offset in (about.get(11), about[9]) if offset)
    stop = start + about[7]
    if not 4 <= start <= stop <= end:
        raise PageError("a column chunk lies outside the file")
    return Chunk(start, stop, _CODECS[about[4]] if about[4] >= 0 else "")


def _leaves(elements: list[dict[int, Any]]) -> list[tuple[str, int | None]]:
    """The columns in order: dotted path, and the level of a cell that is not null; None where they are not of bytes
    or repeated."""
    found: list[tuple[str, int | None]] = []
    at = 1

    def walk(children: int, path: tuple[str, ...], level: int, repeated: bool) -> None:
        nonlocal at
        for _ in range(children):
            element = elements[at]
            at += 1
            inner = (*path, element[4].decode())
            deeper = level + (element.get(3, 0) in (_OPTIONAL, _REPEATED))
            again = repeated or element.get(3, 0) == _REPEATED
            if element.get(5):
                walk(element[5], inner, deeper, again)
            else:
                plain = element.get(1) == _BYTES and not again
                found.append((".".join(inner), deeper if plain else None))

    walk(elements[0].get(5, 0), (), 0, False)
    return found
