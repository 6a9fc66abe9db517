"""Datasets as the store records them: numbered revisions, merged into one view. Not how a source
becomes one."""

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ranking.errors import NotFoundError, StoreError, UnknownNameError
from ranking.names import canonical_json, check_name, parse_json, sha256_hex, utc_now
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile
from ranking.store.trash import settle

_FILES = ("pairs", "items", "ratings")


@dataclass(frozen=True)
class Source:
    """A file that pairs were ingested from. `index` is what the `source` columns hold; `uri` is where it was
    then, `root` where paths of image files start."""

    index: int
    uri: str
    root: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Slice:
    """A run of items of one source, in order: rows `start` to `start + rows` of the items file `file` (a
    store key)."""

    unit: str
    source: int
    file: str
    start: int
    rows: int


@dataclass(frozen=True)
class Revision:
    """What one ingest added. `sha` covers the content and the parent's sha, but not where sources were or
    when."""

    dataset: str
    number: int
    parent: str | None
    format: str
    sources: tuple[Source, ...]
    pairs: DataFile | None  # None, like items, where it brought only ratings
    items: DataFile | None
    slices: tuple[Slice, ...]
    skipped: dict[str, int]
    ratings: DataFile | None = None
    created: str = field(default="", compare=False)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Every file that this revision brought."""
        return tuple(part for part in vars(self).values() if isinstance(part, DataFile))

    @property
    def sha(self) -> str:
        """The SHA-256 of the canonical content: equal on every machine that ingested the same files in this
        order."""
        content = asdict(self)
        del content["created"]
        for source in content["sources"]:
            del source["uri"], source["root"]
        if content["ratings"] is None:  # so it was before there were ratings
            del content["ratings"]
        return sha256_hex(canonical_json(content))


@dataclass(frozen=True)
class Dataset:
    """All revisions of a dataset up to one, merged. Files are in the order of revisions; sources by index. `origin_sha`
    is the first revision's, the same for as long as it is the same dataset."""

    name: str
    revision: int
    revision_sha: str
    format: str
    sources: tuple[Source, ...]
    pairs_files: tuple[DataFile, ...]
    items_files: tuple[DataFile, ...]
    ratings_files: tuple[DataFile, ...]
    slices: tuple[Slice, ...]
    n_pairs: int
    n_items: int
    skipped: dict[str, int]
    created: str
    origin_sha: str = ""

    def pairs_paths(self, store: Store) -> list[Path]:
        """The pairs files on disk, each hashed first; StoreError if one is damaged."""
        return store.checked_paths((file.file, file.sha256) for file in self.pairs_files)

    def items_paths(self, store: Store) -> list[Path]:
        """The items files on disk, each hashed first; StoreError if one is damaged."""
        return store.checked_paths((file.file, file.sha256) for file in self.items_files)

    def ratings_paths(self, store: Store) -> list[Path]:
        """The ratings files on disk (RATED schema), each hashed first; StoreError if one is damaged."""
        return store.checked_paths((file.file, file.sha256) for file in self.ratings_files)


def put_revision(store: Store, revision: Revision) -> bool:
    """Publish a revision. False if its number is taken: build it again on top of the one that is there
    now."""
    check_name("dataset", revision.dataset)
    record = asdict(revision) | {"sha": revision.sha, "created": utc_now()}
    won = store.put_if_absent(_key(revision.dataset, revision.number), canonical_json(record))
    if won:
        settle(store, [part.file for part in revision.files])
    return won


def find_dataset(store: Store, name: str, *, revision: int | None = None) -> Dataset | None:
    """The dataset as of `revision` (default the newest), or None if it has no revision at all."""
    keys = store.list(f"datasets/{check_name('dataset', name)}/revisions")
    if not keys:
        return None
    wanted = len(keys) if revision is None else revision
    if not 1 <= wanted <= len(keys):
        raise NotFoundError(f"dataset {name} has no revision {wanted}", hint=f"its newest is {len(keys)}")
    return _merge(name, [_read(store, name, number) for number in range(1, wanted + 1)])


def get_dataset(store: Store, name: str, *, revision: int | None = None) -> Dataset:
    """The dataset as of `revision` (default the newest); UnknownNameError that lists what exists."""
    dataset = find_dataset(store, name, revision=revision)
    if dataset is None:
        raise UnknownNameError.among("dataset", name, dataset_names(store))
    return dataset


def list_datasets(store: Store) -> list[Dataset]:
    """Every dataset at its newest revision, by name."""
    return [get_dataset(store, name) for name in dataset_names(store)]


def list_revisions(store: Store, name: str) -> list[Revision]:
    """The revisions of a dataset, oldest first; StoreError if one is damaged or missing."""
    keys = store.list(f"datasets/{check_name('dataset', name)}/revisions")
    return [_read(store, name, number) for number in range(1, len(keys) + 1)]


def dataset_names(store: Store) -> list[str]:
    """The names of all datasets, sorted."""
    return sorted({key.split("/")[1] for key in store.list("datasets") if "/revisions/" in key})


def _key(name: str, number: int) -> str:
    return f"datasets/{name}/revisions/{number:010d}.json"


def _read(store: Store, name: str, number: int) -> Revision:
    key = _key(name, number)
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        sha = record.pop("sha")
        revision = Revision(
            **record
            | {
                "sources": tuple(Source(**source) for source in record["sources"]),
                **{name: DataFile(**record[name]) if record.get(name) else None for name in _FILES},
                "slices": tuple(Slice(**piece) for piece in record["slices"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{key} does not read as a revision", code="damaged", hint="restore it from a copy of the store"
        ) from error
    if revision.sha != sha:
        raise StoreError(
            f"{key} is damaged: its content does not have its sha",
            code="damaged",
            hint="restore it from a copy of the store",
        )
    return revision


def _merge(name: str, revisions: list[Revision]) -> Dataset:
    for before, after in pairwise(revisions):
        if after.parent != before.sha:
            raise StoreError(f"revision {after.number} of {name} does not follow from the one before", code="damaged")
    newest = revisions[-1]
    skipped: dict[str, int] = {}
    for revision in revisions:
        for reason, count in revision.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
    pairs = tuple(revision.pairs for revision in revisions if revision.pairs)
    items = tuple(revision.items for revision in revisions if revision.items)
    return Dataset(
        name=name,
        revision=newest.number,
        revision_sha=newest.sha,
        format=next((revision.format for revision in reversed(revisions) if revision.pairs), newest.format),
        sources=tuple(source for revision in revisions for source in revision.sources),
        pairs_files=pairs,
        items_files=items,
        ratings_files=tuple(revision.ratings for revision in revisions if revision.ratings),
        slices=tuple(piece for revision in revisions for piece in revision.slices),
        n_pairs=sum(file.rows for file in pairs),
        n_items=sum(file.rows for file in items),
        skipped=skipped,
        created=newest.created,
        origin_sha=revisions[0].sha,
    )
