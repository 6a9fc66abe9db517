"""Tables that can be built again: which of them are still of use, and which files they name. Builds none."""

import re
from typing import Any

from ranking.errors import PairsieveError
from ranking.features.pairs import column_versions
from ranking.features.wide import VERSION as WIDE
from ranking.graph.label_graph import VERSION as GRAPH
from ranking.names import parse_json
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile
from ranking.subsets.census import VERSION as CENSUS
from ranking.subsets.density import VERSION as DENSITY

FOLDERS = ("wide", "graphs", "columns", "density", "statistics")
"""The folders of derived tables."""

_DESCRIBED = re.compile(r"([^/]+)\.v(\d+)\.(?:json|parquet)")
_FILE = set(DataFile.__dataclass_fields__)


def describes(key: str, shas: frozenset[str]) -> bool | None:
    """Whether a key describes a table of today's version, built from a snapshot or revision with one of these
    hashes; None if it is no description at all but a file that one may name."""
    found = _DESCRIBED.fullmatch(key.rpartition("/")[2])
    if found is None:
        return None
    folder, above, *_ = key.split("/")
    stem = found[1] if folder == "graphs" else above
    return int(found[2]) == _version(folder, found[1]) and any(sha.startswith(stem) for sha in shas)


def _version(folder: str, stem: str) -> int | None:
    """The version of such a table that is built today; None if none is."""
    if folder == "wide":
        return WIDE
    if folder == "graphs":
        return GRAPH
    if folder == "density":
        return DENSITY
    if folder == "statistics":
        return CENSUS
    return column_versions().get(stem.partition(".")[0])


def derived_files(store: Store, shas: frozenset[str]) -> dict[str, tuple[DataFile, ...]]:
    """The descriptions of use, each with the files it names; one that cannot be read names none, as it is
    then made again."""
    found = {}
    for folder in FOLDERS:
        for key in store.list(folder):
            if key.endswith(".json") and describes(key, shas):
                try:
                    found[key] = tuple(_data_files(parse_json(store.get(key), where=key)))
                except PairsieveError:
                    found[key] = ()
    return found


def _data_files(value: Any) -> list[DataFile]:
    """Every description of a file anywhere in a JSON value."""
    if isinstance(value, dict):
        if set(value) == _FILE:
            return [DataFile(**value)]
        return [file for part in value.values() for file in _data_files(part)]
    return [file for part in value for file in _data_files(part)] if isinstance(value, list) else []
