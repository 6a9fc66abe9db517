"""Files of marks: CSV, JSON lines or Parquet to and from a table. Knows no store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from ranking.errors import SourceError, UsageError
from ranking.store.blobs import clear_errors

SUFFIXES: Final = (".csv", ".jsonl", ".parquet")

_COLUMNS: Final = {"pair_id": ("pair_id", "pair", "id"), "kind": ("kind",), "by": ("by",), "why": ("why", "note")}
"""What we read, and the names that it may have."""


def read_marks(path: Path, *, kind: str | None = None) -> pa.Table:
    """The marks of a file: text columns pair_id and kind, and by and why where it has them. `kind` is that of every row
    of a file without such a column. SourceError for a file that cannot be read, UsageError for one without a kind."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path} is no file of marks", code="bad-flag", hint=f"name one that ends in {_listed()}")
    try:
        table = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": pq.read_table}[suffix](path)
    except FileNotFoundError as error:
        raise SourceError(f"{path} is not there", code="source-missing", hint="check the path") from error
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read ({error})", hint="check the file") from error
    found = {}
    for ours, names in _COLUMNS.items():
        theirs = next((name for name in names if name in table.column_names), None)
        if theirs is not None:
            found[ours] = _texts(table, theirs, path)
    if "pair_id" not in found:
        columns = ", ".join(table.column_names[:20])
        raise SourceError(f"{path} has no column pair_id", code="source-columns", hint=f"its columns are {columns}")
    if kind is not None and "kind" in found:
        raise UsageError(f"{path} says the kind of every mark itself", code="bad-flag", hint="leave --kind away")
    if "kind" not in found:
        if kind is None:
            raise UsageError(f"{path} does not say the kind of its marks", code="bad-flag", hint="give it with --kind")
        found["kind"] = pa.chunked_array([pa.repeat(pa.scalar(kind), table.num_rows)])
    return pa.table(found)


def write_marks(table: pa.Table, path: Path) -> None:
    """Write marks to a new file, whose ending says how: what `read_marks` reads, with all that is known beside it."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path} does not say how to write it", code="bad-flag", hint=f"end it in {_listed()}")
    with clear_errors(str(path)):
        try:
            file = path.open("xb")
        except FileExistsError as error:
            raise UsageError(f"{path} is there already", code="bad-flag", hint="name a new file") from error
        with file:
            if suffix == ".csv":
                pv.write_csv(table, file)
            elif suffix == ".parquet":
                pq.write_table(table, file, compression="zstd")
            else:
                file.write(_jsonl(table))


def _jsonl(table: pa.Table) -> bytes:
    from ranking.names import canonical_json

    return b"".join(canonical_json(row) + b"\n" for row in table.to_pylist())


def _read_csv(path: Path) -> pa.Table:
    with path.open("rb") as file:
        names = pv.open_csv(file).schema.names
    # As texts: an id such as 00e0… must not become a number.
    kinds = pv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=True)
    return pv.read_csv(path, convert_options=kinds)


def _read_jsonl(path: Path) -> pa.Table:
    names = [name for names in _COLUMNS.values() for name in names]
    schema = pa.schema([(name, pa.string()) for name in names])
    parsed = pj.read_json(
        path, parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    )
    given = [name for name in names if parsed[name].null_count < parsed.num_rows]
    return parsed.select(given)


def _texts(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    try:
        return table[name].cast(pa.string())
    except pa.ArrowException as error:
        raise SourceError(f"{path} has no text in column {name}", code="source-columns") from error


def _listed(suffixes: Sequence[str] = SUFFIXES) -> str:
    return ", ".join(suffixes)
