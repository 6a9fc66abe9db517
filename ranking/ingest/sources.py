"""Finds the Parquet files of a source and looks at their footers. Does not look at rows."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import SourceError


@dataclass(frozen=True)
class SourceFile:
    """A Parquet file to ingest: absolute path, size in bytes, rows, columns, and the first row of each row
    group.
    """

    path: Path
    bytes: int
    rows: int
    schema: pa.Schema
    group_starts: tuple[int, ...]


def find_sources(source: str | Path) -> list[SourceFile]:
    """The Parquet files of a file or of a folder and its subfolders, in the order of their paths.

    Raises SourceError if the source is missing, has no Parquet file, or if a file is not Parquet or has no
    rows.
    """
    root = Path(source).expanduser().absolute()
    if root.is_dir():
        paths = sorted(path for path in root.rglob("*.parquet") if path.is_file())
        if not paths:
            raise SourceError(
                f"source {root} has no *.parquet file",
                code="source-empty",
                hint="name a folder or file of pairs",
            )
    elif root.is_file():
        paths = [root]
    else:
        raise SourceError(f"source {root} does not exist", code="source-missing", hint="check the path")
    return [_look_at(path) for path in paths]


def _look_at(path: Path) -> SourceFile:
    try:
        with pq.ParquetFile(path) as file:
            starts, rows = [], 0
            for group in range(file.metadata.num_row_groups):
                starts.append(rows)
                rows += file.metadata.row_group(group).num_rows
            found = SourceFile(path, path.stat().st_size, rows, file.schema_arrow, tuple(starts))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"source {path} is not a readable Parquet file ({error})",
            code="source-not-parquet",
            hint="check the file",
        ) from error
    if not found.rows:
        raise SourceError(f"source {path} has no rows", code="source-empty", hint="leave it out")
    return found
