"""A table as a file for others: Parquet, CSV or JSON lines, by the ending of its name."""

import os
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from ranking import duck
from ranking.errors import StoreError, UsageError

# Nine significant digits tell any two float32 apart, however a reader rounds them. JSON gets the number itself.
_FORMATS: Final = {
    ".csv": ("printf('%.9g', {0}::DOUBLE)", "FORMAT csv, HEADER"),
    ".jsonl": ("{0}::DOUBLE", "FORMAT json"),
    ".parquet": ("{0}", "FORMAT parquet, COMPRESSION zstd"),
}


def check_new(to: Path) -> None:
    """UsageError for a file of another ending, or one that is there."""
    if to.suffix not in _FORMATS:
        raise UsageError(f"{to} ends in none of {', '.join(_FORMATS)}", code="bad-format", hint="choose one of them")
    if to.exists():
        raise UsageError(f"{to} is there already", code="exists", hint="choose another name, or remove it")


def write_table(to: Path, rows: pa.Table | pa.RecordBatchReader) -> None:
    """Write a table, or batches as they come, to a file that `check_new` lets pass; it appears whole or not at all.

    Raises StoreError where the folder or its disk take no more.
    """
    number, options = _FORMATS[to.suffix]
    columns = [
        f"{number.format(duck.identifier(field.name))} AS {duck.identifier(field.name)}"
        if pa.types.is_floating(field.type)
        else duck.identifier(field.name)
        for field in rows.schema
    ]
    unfinished = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with duck.connect() as con:
            con.register("rows", rows)
            target = duck.literal(str(unfinished))
            con.execute(f"COPY (SELECT {', '.join(columns)} FROM rows) TO {target} ({options})")
        unfinished.rename(to)
    except (duckdb.IOException, OSError) as error:
        raise StoreError(
            f"{to} cannot be written ({error})", code="export-unwritable", hint="check the folder and its space"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
