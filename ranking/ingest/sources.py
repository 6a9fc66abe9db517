"""Finds the files of a source and opens them. Does not know what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ranking.errors import SourceError


@dataclass(frozen=True)
class SourceFile:
    """A file to ingest. `uri` is its absolute path; `root` the folder that the user named or, for a single file, its
    own: pointers to image files start there. `sha256` is None until somebody has hashed it."""

    uri: str
    root: str
    bytes: int
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The last part of the uri."""
        return self.uri.rpartition("/")[2]

    def open(self) -> BinaryIO:
        """The file for reading anywhere in it."""
        return Path(self.uri).open("rb")


def find_sources(source: str | Path, suffixes: Sequence[str]) -> list[SourceFile]:
    """The file itself, or the files of a folder and its subfolders that end in one of `suffixes`, by path.

    Raises SourceError if the source is missing or has no such file.
    """
    root = Path(source).expanduser().absolute()
    if root.is_dir():
        paths = sorted(path for path in root.rglob("*") if path.name.endswith(tuple(suffixes)) and path.is_file())
        if not paths:
            raise SourceError(
                f"source {root} has no file that ends in {', '.join(suffixes)}",
                code="source-empty",
                hint="name a folder or file of pairs",
            )
        return [SourceFile(str(path), str(root), path.stat().st_size) for path in paths]
    if not root.is_file():
        raise SourceError(f"source {root} does not exist", code="source-missing", hint="check the path")
    return [SourceFile(str(root), str(root.parent), root.stat().st_size)]
