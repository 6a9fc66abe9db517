"""Which paths in a file of pairs may become pointers to images. Looks at spellings only, never at a disk."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters.base import Options
from ranking.ingest.sources import SourceFile

# Absolute, with a drive letter or a scheme, with backslashes or control characters, with empty, . or .. parts.
_BAD: Final = r"^/|^[A-Za-z][A-Za-z0-9+.-]*:|\\|[\x00-\x1f\x7f]|(^|/)\.{0,2}(/|$)"
_ADDRESS: Final = r"^https://[^/\\\x00-\x20\x7f]+/[^\\\x00-\x20\x7f]*$"


def is_bad_path(paths: pa.Array) -> pa.Array:
    """Whether each path might lead out of the folder it is to be joined to, or means different files on different
    systems; null for null."""
    return pc.match_substring_regex(paths, _BAD)


def is_address(paths: pa.Array) -> pa.Array:
    """Whether each is an https address; null for null."""
    return pc.match_substring_regex(paths, _ADDRESS)


def beneath(folder: str, paths: pa.Array) -> pa.Array:
    """The paths with the folder, which may be "", before them."""
    return pc.binary_join_element_wise(folder, paths, "/") if folder else paths


def folder_of(file: SourceFile, options: Options) -> str:
    """What to put before paths that start beside the source file: its folder below the source's root, with / between
    its parts. "" for the root itself, and where the user named the folder that paths start at."""
    return file.uri.removeprefix(file.root).strip("/").rpartition("/")[0] if options.images is None else ""
