"""What was imported from where: one record for each scorer id and dataset, made before the first score of it."""

from dataclasses import asdict, dataclass
from typing import Any

from ranking.errors import StoreError
from ranking.names import canonical_json, check_name, check_scorer_id, parse_json, utc_now
from ranking.store.blobs import Store


@dataclass(frozen=True)
class GivenFile:
    """A table that scores came from: where it was then, its size, its rows and how it is keyed (`given.BY_ITEM` …)."""

    uri: str
    bytes: int
    rows: int
    form: str


@dataclass(frozen=True)
class Imported:
    """Scores of a dataset's items were imported as this scorer, the first time from these files."""

    scorer_id: str
    dataset: str
    files: tuple[GivenFile, ...]
    created: str


def put_import(store: Store, scorer_id: str, dataset: str, files: tuple[GivenFile, ...]) -> bool:
    """Record where scores come from. False if that id and dataset have a record."""
    record = Imported(check_scorer_id(scorer_id), check_name("dataset", dataset), files, utc_now())
    return store.put_if_absent(_key(record), canonical_json(asdict(record)))


def get_import(store: Store, key: str) -> Imported:
    """The record at a key; StoreError if it does not read as one of its place."""
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        found = Imported(**record | {"files": tuple(GivenFile(**file) for file in record["files"])})
    except (KeyError, TypeError) as error:
        raise StoreError(f"{key} does not read as an import", code="damaged", hint="restore it from a copy") from error
    if _key(found) != key:
        raise StoreError(f"{key} is the record of {_key(found)}", code="damaged", hint="restore it from a copy")
    return found


def list_imports(store: Store) -> list[Imported]:
    """Every record, by scorer id and dataset."""
    return [get_import(store, key) for key in store.list("imports")]


def imported_ids(store: Store) -> frozenset[str]:
    """The scorer ids under which scores were imported, from the records' names alone."""
    return frozenset(key.split("/")[1] for key in store.list("imports"))


def _key(record: Imported) -> str:
    return f"imports/{record.scorer_id}/{record.dataset}.json"
