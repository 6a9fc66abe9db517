"""What an adapter is: it recognises the files of one dataset's layout and brings their rows into the normal form."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from ranking.errors import SourceError
from ranking.ingest.sources import SourceFile


@dataclass(frozen=True)
class Options:
    """What the user said about the source. `images` is the folder that image paths start at (default: the source's
    root); `columns` maps our names to the file's, for the generic table."""

    images: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Adapter:
    """One layout. `yields` says which schema of `ranking.ingest.raw` its batches have.

    `mismatch(file)` says in a few words why a file is not of this layout, or None if it is; it reads as little as
    possible and may raise SourceError for a file that cannot be read. `read(file, options)` gives the file's rows
    in batches of at most 65,536, row numbers not falling, unusable ones with their reason; SourceError if
    the file cannot be read.
    """

    name: str
    suffixes: tuple[str, ...]
    mismatch: Callable[[SourceFile], str | None]
    read: Callable[[SourceFile, Options], Iterator[pa.RecordBatch]]
    yields: Literal["judgements", "ratings", "both"] = "judgements"


def begin(file: SourceFile, size: int) -> bytes:
    """The file's first `size` bytes, or all if it has fewer. SourceError if it cannot be read."""
    try:
        with file.open() as handle:
            return handle.read(size)
    except OSError as error:
        raise SourceError(f"source {file.uri} cannot be read ({error})", hint="check the file") from error
