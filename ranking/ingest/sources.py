"""Finds the files of a source, here or in a bucket or on the hub, and opens them. Does not know what is in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from ranking.errors import SourceError, UsageError

DESCRIPTIONS: Final = ("croissant.json", "dataset_infos.json", "manifest.json")
"""Files that describe a dataset beside its data, of Croissant, the hub and our own exports: no pairs of a folder."""


@dataclass(frozen=True)
class SourceFile:
    """A file to ingest. `uri` is its absolute path, s3://bucket/key or hf://datasets/org/name@commit/path; `root` the
    folder that the user named or, for a single file, its own: pointers to image files start there. `sha256` is None
    until somebody has hashed it; `version` changes when the content may have (empty where it cannot)."""

    uri: str
    root: str
    bytes: int
    sha256: str | None = None
    version: str = ""

    @property
    def name(self) -> str:
        """The last part of the uri."""
        return self.uri.rpartition("/")[2]

    def open(self) -> BinaryIO:
        """The file for reading anywhere in it; SourceError if it cannot be opened."""
        return open_uri(self.uri, size=self.bytes)


def find_sources(source: str | Path, suffixes: Sequence[str]) -> list[SourceFile]:
    """The file itself, or the files of a folder and its subfolders that end in one of `suffixes`, by path.

    A source is a path, file://, s3://bucket/prefix or hf://datasets/org/name[@revision]/path, whose revision is
    resolved to a commit here, once. Names that begin with a dot and, of a folder, DESCRIPTIONS are left out. Raises
    SourceError if the source is missing, cannot be reached or has no such file, UsageError if its address is not one.
    """
    scheme = scheme_of(source)
    if scheme == "s3":
        from ranking.ingest import bucket

        found = bucket.find(str(source))
    elif scheme == "hf":
        from ranking.ingest import hub

        found = hub.find(str(source))
    else:
        found = _find_here(local_path(source))
    if isinstance(found, SourceFile):
        return [found]
    ends = tuple(suffixes)
    kept = [file for file in found if file.name.lower().endswith(ends) and file.name not in DESCRIPTIONS]
    if not kept:
        raise SourceError(
            f"source {source} has no file that ends in {', '.join(suffixes)}",
            code="source-empty",
            hint="name a folder or file of pairs",
        )
    return sorted(kept, key=lambda file: file.uri)


def open_uri(uri: str, *, size: int | None = None) -> BinaryIO:
    """What a recorded uri names, for reading anywhere in it; remote files are read by ranges, nothing is downloaded
    whole. `size` in bytes, where known, saves a request. SourceError if it is missing or cannot be reached; reading
    may raise OSError.
    """
    scheme = scheme_of(uri)
    if scheme == "s3":
        from ranking.ingest import bucket

        return bucket.open_key(uri, size=size)
    if scheme == "hf":
        from ranking.ingest import hub

        return hub.open_file(uri, size=size)
    path = local_path(uri)
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def folder_of(source: str | Path) -> str:
    """The root to record for the folder of images `source`: absolute, or with its commit. SourceError if there is no
    such folder here."""
    scheme = scheme_of(source)
    if scheme == "s3":
        from ranking.ingest import bucket

        return "s3://" + "/".join(filter(None, bucket.split(str(source))))
    if scheme == "hf":
        from ranking.ingest import hub

        return hub.at_commit(str(source))
    path = local_path(source)
    if not path.is_dir():
        raise SourceError(f"the folder of images {path} does not exist", code="source-missing", hint="check --images")
    return str(path)


def unchanged(file: SourceFile) -> bool:
    """Whether the file is still the one that was found. SourceError if it is gone."""
    scheme = scheme_of(file.uri)
    if scheme == "s3":
        from ranking.ingest import bucket

        return bucket.version(file.uri) == file.version
    if scheme == "hf":
        return True  # the uri names a commit
    path = Path(file.uri)
    try:
        return _version(path.stat()) == file.version
    except OSError as error:
        raise _unreadable(path, error) from error


def scheme_of(source: str | Path) -> str:
    """ "s3", "hf", or "" for a file or folder here. UsageError for any other."""
    scheme, separator, _ = str(source).partition("://")
    if not separator or isinstance(source, Path) or scheme == "file":
        return ""
    if scheme in ("s3", "hf"):
        return scheme
    raise UsageError(
        f"source {source} is of a kind we cannot read",
        code="bad-source",
        hint="name a path, s3://bucket/prefix or hf://datasets/org/name/path",
    )


def local_path(source: str | Path) -> Path:
    """The absolute path that a path or a file:// address names."""
    if isinstance(source, str) and source.startswith("file://"):
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"source {source} is on another machine", code="bad-source", hint="write file:///path")
        source = unquote(parts.path)
    if "\0" in str(source):
        raise UsageError("the name of the source has a zero byte", code="bad-source", hint="correct it")
    # Symbolic links stay as they are written: where a link leads may change, and the hash says if it did.
    return Path(source).expanduser().absolute()


def _find_here(path: Path) -> SourceFile | list[SourceFile]:
    try:
        if path.is_dir():
            return [_file(found, path) for found in _walk(path)]
        if path.is_file():
            path.open("rb").close()
            return _file(path, path.parent)
        if path.exists():
            raise SourceError(f"source {path} is neither a file nor a folder", code="source-kind", hint="name one")
    except OSError as error:
        raise _unreadable(path, error) from error
    raise SourceError(f"source {path} does not exist", code="source-missing", hint="check the path")


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(root, followlinks=True, onerror=refuse):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
            names.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        names[:] = sorted(name for name in names if not name.startswith("."))
        paths = (Path(folder, name) for name in files if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def _file(path: Path, root: Path) -> SourceFile:
    status = path.stat()
    return SourceFile(str(path), str(root), status.st_size, version=_version(status))


def _version(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _unreadable(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"source {path} does not exist", code="source-missing", hint="check the path")
    reason = (error.strerror or str(error)).lower()
    hint = "check its permissions" if isinstance(error, PermissionError) else "check the file"
    where = error.filename or path
    return SourceError(f"source {where} cannot be read ({reason})", code="source-unreadable", hint=hint)
