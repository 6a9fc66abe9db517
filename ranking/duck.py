"""In-memory DuckDB connections that load no extension and see no Python variable. SQL is ours only, never a
user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

MEMORY: Final = "2GB"
"""What work over whole datasets may hold in memory; beyond it DuckDB spills to disk."""


def connect(
    threads: int | None = None, memory_limit: str | None = None, *, temp_directory: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """A hardened connection; it spills to `temp_directory` only, and without one it does not spill.

    `threads=1` makes floating-point sums repeatable, which ranking needs. `memory_limit` is DuckDB's form,
    e.g. "1GB".
    """
    con = duckdb.connect(":memory:")
    con.execute("SET autoinstall_known_extensions=false")
    con.execute("SET autoload_known_extensions=false")
    con.execute("SET allow_community_extensions=false")
    con.execute("SET python_enable_replacements=false")
    con.execute("SET enable_progress_bar=false")
    con.execute("SET TimeZone='UTC'")
    con.execute(f"SET temp_directory={literal(str(temp_directory) if temp_directory else '')}")
    if threads is not None:
        con.execute(f"SET threads={int(threads)}")
    if memory_limit is not None:
        con.execute(f"SET memory_limit={literal(memory_limit)}")
    con.execute("SET lock_configuration=true")
    return con


def arrow(con: duckdb.DuckDBPyConnection, sql: str, params: Sequence[Any] = ()) -> pa.Table:
    """The result of a query as an Arrow table."""
    return con.sql(sql, params=list(params)).to_arrow_table()


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier. Column names such as `pickscore.gap` need it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a quoted SQL string, for places where a parameter cannot stand (views, settings)."""
    return "'" + text.replace("'", "''") + "'"


def parquet_scan(paths: Sequence[Path], *, position: bool = False) -> str:
    """SQL that scans exactly these Parquet files, in this order; an explicit list, never a glob. With `position` there
    is a column of that name, the row's number from 0 in its file."""
    if not paths:
        raise ValueError("a scan needs at least one file")
    # DuckDB expands these characters even in a list; a root named "a[1]" must stay one folder.
    for path in paths:
        if any(char in str(path) for char in "*?["):
            raise ValueError(f"{path} has a character that would be read as a pattern")
    files = f"[{', '.join(literal(str(path)) for path in paths)}]"
    if position:
        return f"(SELECT * RENAME (file_row_number AS position) FROM read_parquet({files}, file_row_number = true))"
    return f"read_parquet({files})"
