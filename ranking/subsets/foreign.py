"""Subsets of other stores that runs of this one train on: records and pairs files, as they were pinned. No subsets of
this store, which has neither their dataset nor their snapshot."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import NotFoundError, PairsieveError, StoreError, UnknownNameError
from ranking.names import canonical_json, check_id, check_name, parse_json, sha256_file
from ranking.store.blobs import Store
from ranking.subsets.catalog import LATEST, SnapshotRef, Subset, get_subset, parse_ref, subset_version

FOLDER = "foreign"


@dataclass(frozen=True)
class ForeignSubset:
    """A subset of another store. `origin_sha` is that of its dataset's first revision, which tells two datasets of one
    name apart; `url` the server that it came from last, None where that was forgotten."""

    subset: Subset
    origin_sha: str
    url: str | None

    @property
    def ref(self) -> str:
        """name@version, which follows from what is in it: the same as on its server."""
        return self.subset.ref

    @property
    def sha256(self) -> str:
        """That of its pairs file."""
        return self.subset.sha256

    @property
    def dataset(self) -> str:
        """The dataset's name on its server."""
        return self.subset.dataset

    @property
    def pairs_key(self) -> str:
        """The store key of the pairs file."""
        return f"{_folder(self.subset.name, self.subset.version)}/pairs.parquet"


def subset_of_record(record: dict[str, Any], *, where: str) -> Subset:
    """The subset that a manifest describes. StoreError unless its version follows from what it says, so that nobody
    who knows the version can be given another recipe, snapshot or pairs."""
    try:
        subset = Subset(**record | {"snapshot": SnapshotRef(**record["snapshot"])})
    except (KeyError, TypeError) as error:
        raise StoreError(f"{where} does not read as a subset", code="damaged", hint="check the server") from error
    check_name("subset", subset.name)
    if subset_version(subset.recipe, subset.snapshot.sha, subset.sha256) != subset.version:
        raise StoreError(
            f"{where} says that it is {subset.ref}, which does not follow from its recipe, snapshot and pairs",
            code="damaged",
            hint="check the server; nothing was trained",
        )
    return subset


def keep_foreign(store: Store, subset: Subset, pairs: Path, *, origin_sha: str, url: str) -> ForeignSubset:
    """Keep the record and the pairs file (`pairs` is moved) of a subset of the server at `url`; what is kept already
    stays. StoreError where the file is not the one that the record names."""
    if sha256_file(pairs) != subset.sha256:
        raise StoreError(
            f"the pairs of subset {subset.ref} are not those that its record names: their sha256 differs",
            code="wrong-bytes",
            hint="check the server; nothing was trained",
        )
    key = ForeignSubset(subset, origin_sha, url).pairs_key
    if store.digest(key) not in (None, subset.sha256):
        store.delete(key)  # damaged since: what comes now is right
    store.put_file(key, pairs)
    record = {"origin_sha": origin_sha, "subset": asdict(subset)}
    store.put_if_absent(_manifest(subset.name, subset.version), canonical_json(record))
    # A hint, as the address may change from day to day, with the port of a tunnel, and the subset does not.
    store.put_hint(_address(subset.name, subset.version), url.encode())
    return get_foreign(store, subset.ref)


def get_foreign(store: Store, ref: str) -> ForeignSubset:
    """The foreign subset "name@version"; NotFoundError if there is none."""
    name, version = parse_ref(ref)
    if version == LATEST or not store.exists(key := _manifest(name, version)):
        raise NotFoundError(
            f"subset {ref} is neither of this store nor was it fetched from another", hint="fetch it with --from URL"
        )
    return read_foreign(store, key)


def read_foreign(store: Store, key: str) -> ForeignSubset:
    """The foreign subset whose manifest has this key; StoreError if it is damaged."""
    record = parse_json(store.get(key), where=key)
    if not isinstance(record, dict) or not isinstance(record.get("origin_sha"), str):
        raise StoreError(
            f"{key} does not read as a subset of another store", code="damaged", hint="fetch it again with --from URL"
        )
    subset = subset_of_record(record.get("subset", {}), where=key)
    url = store.get_hint(_address(subset.name, subset.version))
    return ForeignSubset(subset, record["origin_sha"], url.decode() if url is not None else None)


def foreign_keys(store: Store) -> list[str]:
    """The keys of all foreign subsets' manifests."""
    return [key for key in store.list(FOLDER) if key.endswith("/manifest.json")]


def find_subset(store: Store, ref: str) -> Subset | ForeignSubset:
    """The subset of this store, or the foreign one where it has none of this name and version; the errors of
    `get_subset` otherwise."""
    try:
        return get_subset(store, ref)
    except (NotFoundError, UnknownNameError):
        try:
            return get_foreign(store, ref)
        except NotFoundError:
            pass
        raise


def foreign_pairs(store: Store, foreign: ForeignSubset) -> pa.Table:
    """Its pairs (SUBSET_PAIRS schema), best first, after their file was hashed; StoreError if damaged."""
    try:
        path = store.checked_path(foreign.pairs_key, foreign.subset.sha256)
    except PairsieveError as error:
        raise StoreError(
            f"the pairs of subset {foreign.ref} are gone or damaged ({error.message})",
            code="damaged",
            hint=f"fetch it again with --from {foreign.url or 'URL'}",
        ) from error
    return pq.read_table(path, partitioning=None)


def _folder(name: str, version: str) -> str:
    return f"{FOLDER}/{check_name('subset', name)}/{check_id('subset version', version)}"


def _address(name: str, version: str) -> str:
    return f"hints/{_folder(name, version)}"


def _manifest(name: str, version: str) -> str:
    return f"{_folder(name, version)}/manifest.json"
