"""The subsets that exist: finding, listing and reading them. Not how one is selected."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import NotFoundError, StoreError, UnknownNameError, UsageError
from ranking.names import canonical_json, check_id, check_name, parse_json, sha256_hex
from ranking.store.blobs import Store

LATEST = "latest"


@dataclass(frozen=True)
class SnapshotRef:
    """The snapshot that a subset was cut from: its number in this store and its hash."""

    n: int
    sha: str


@dataclass(frozen=True)
class Subset:
    """An immutable selection of pairs. `sha256` is that of its pairs file; `version` follows from recipe,
    snapshot and pairs; `recipe` is canonical JSON's value; `statistics` compares the dataset ("before") with
    the subset ("after")."""

    name: str
    version: str
    dataset: str
    recipe: dict[str, Any]
    snapshot: SnapshotRef
    rows: int
    statistics: dict[str, Any]
    sha256: str
    created: str

    @property
    def ref(self) -> str:
        """name@version, how everything else cites it."""
        return f"{self.name}@{self.version}"

    @property
    def pairs_key(self) -> str:
        """The store key of the pairs file."""
        return f"{subset_folder(self.name, self.version)}/pairs.parquet"


def subset_version(recipe: dict[str, Any], snapshot_sha: str, pairs_sha256: str) -> str:
    """12 hex digits that follow from what was asked, of what, and what came out."""
    return sha256_hex(canonical_json([recipe, snapshot_sha, pairs_sha256]))[:12]


def subset_folder(name: str, version: str) -> str:
    """The store folder of one subset."""
    return f"subsets/{check_name('subset', name)}/{check_id('subset version', version)}"


def parse_ref(ref: str) -> tuple[str, str]:
    """(name, version) of "name@version", "name@latest" or "name", which means the latest; UsageError
    otherwise."""
    name, at, version = ref.partition("@")
    check_name("subset", name)
    if at and version != LATEST and not (len(version) == 12 and set(version) <= set("0123456789abcdef")):
        raise UsageError(f"subset {ref!r} is not name@version", hint="use name@latest or 12 hex digits")
    return name, version or LATEST


def get_subset(store: Store, ref: str) -> Subset:
    """The subset "name@version", or the newest of a name; UnknownNameError or NotFoundError that says what
    exists."""
    name, version = parse_ref(ref)
    found = [subset for subset in _of_name(store, name) if version in (LATEST, subset.version)]
    if found:
        return found[-1]
    versions = [subset.version for subset in _of_name(store, name)]
    if versions:
        raise NotFoundError(
            f"subset {name} has no version {version}", hint=f"there are {', '.join(versions)}", exit_code=2
        )
    raise UnknownNameError.among("subset", name, _names(store))


def list_subsets(store: Store) -> list[Subset]:
    """Every version of every subset, by name, then oldest first."""
    return [subset for name in _names(store) for subset in _of_name(store, name)]


def subset_pairs(store: Store, subset: Subset) -> pa.Table:
    """The subset's pairs (SUBSET_PAIRS schema), best first, after their file was hashed; StoreError if
    damaged."""
    path = store.checked_path(subset.pairs_key, subset.sha256)
    return pq.read_table(path, partitioning=None)


def _names(store: Store) -> list[str]:
    return sorted({key.split("/")[1] for key in store.list("subsets") if key.endswith("/manifest.json")})


def _of_name(store: Store, name: str) -> list[Subset]:
    keys = [key for key in store.list(f"subsets/{name}") if key.endswith("/manifest.json")]
    return sorted((get_manifest(store, key) for key in keys), key=lambda subset: (subset.created, subset.version))


def get_manifest(store: Store, key: str) -> Subset:
    """The subset whose manifest has this key; StoreError if it is damaged."""
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        subset = Subset(**record | {"snapshot": SnapshotRef(**record["snapshot"])})
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{key} does not read as a subset", code="damaged", hint="restore it from a copy of the store"
        ) from error
    if subset_version(subset.recipe, subset.snapshot.sha, subset.sha256) != subset.version:
        raise StoreError(
            f"{key} is damaged: its version does not follow from it",
            code="damaged",
            hint="restore it from a copy of the store",
        )
    return subset
