"""Scorers that were trained here, as the store records them: numbered versions of a name, each one marker that names
its files. Not what the files mean (`workers.scorers.trained`), nor how they came to be (`training.reward`).

    scorers/<name>/<version>/<hash of all files>/<file>    what the training left           immutable
    scorers/<name>/<version>/manifest.json                 THE version: its files, facts    put-if-absent
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ranking.errors import NotFoundError, StoreError, UnknownNameError, UsageError
from ranking.names import canonical_json, check_name, parse_json, sha256_file, sha256_hex, utc_now
from ranking.store.blobs import Store
from ranking.store.trash import settle

SCORERS = "scorers"


@dataclass(frozen=True)
class TrainedFile:
    """A file by its name among the version's files."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class TrainedScorer:
    """One version of a scorer.

    `kind` says how `files` make scores, with `options` and, for a head, the scorer `base` (name@fingerprint) whose
    embeddings it reads. `papers` are files that decide no score: the report, the learning curve. `training` is the hash
    of what it was made from, `facts` what people want to know of it.
    """

    name: str
    version: int
    kind: str
    training: str
    summary: str
    base: str
    code_version: int
    options: dict[str, Any]
    files: tuple[TrainedFile, ...]
    papers: tuple[TrainedFile, ...]
    facts: dict[str, Any]
    created: str = field(default="", compare=False)

    @property
    def ref(self) -> str:
        """`name v3`, for people."""
        return f"{self.name} v{self.version}"

    def key(self, file: TrainedFile) -> str:
        """Where a file of this version lies."""
        return f"{_folder(self.name, self.version)}/{tree_hash((*self.files, *self.papers))}/{file.name}"

    def paper(self, name: str) -> str:
        """The key of a paper; NotFoundError if there is none of that name."""
        for file in self.papers:
            if file.name == name:
                return self.key(file)
        raise NotFoundError(f"{self.ref} has no {name}", hint=f"it has {', '.join(each.name for each in self.papers)}")


def tree_hash(files: Sequence[TrainedFile]) -> str:
    """16 hex digits over names and contents."""
    return sha256_hex(canonical_json(sorted([file.name, file.sha256] for file in files)))[:16]


def manifest_key(name: str, version: int) -> str:
    """Where a version is, or will be, recorded."""
    return f"{_folder(name, version)}/manifest.json"


def put_trained(
    store: Store,
    *,
    name: str,
    version: int,
    kind: str,
    training: str,
    summary: str,
    base: str,
    code_version: int,
    options: Mapping[str, Any],
    files: Mapping[str, Path],
    papers: Mapping[str, Path],
    facts: Mapping[str, Any],
) -> TrainedScorer:
    """Publish a version; the files (made under `store.tmp()`) move into the store first, the marker comes last.

    Whoever comes second with the same `training` gets the version that is there. UsageError if the version is of
    another training, whose files then stay out.
    """
    check_name("scorer", name)
    record = TrainedScorer(
        name=name,
        version=version,
        kind=kind,
        training=training,
        summary=summary,
        base=base,
        code_version=code_version,
        options=dict(options),
        files=described(files),
        papers=described(papers),
        facts=dict(facts),
        created=utc_now(),
    )
    everything = {**files, **papers}
    for file, path in ((file, everything[file.name]) for file in (*record.files, *record.papers)):
        store.put_file(record.key(file), path)
    won = store.put_if_absent(manifest_key(name, version), canonical_json(asdict(record)))
    found = get_trained(store, name, version=version)
    if found.training != training:
        raise UsageError(
            f"{found.ref} is there already, made by another training",
            code="scorer-name-taken",
            hint="train again: it becomes the next version",
        )
    if won:
        settle(store, [found.key(file) for file in (*found.files, *found.papers)])
    return found


def trained_versions(store: Store, name: str) -> list[int]:
    """The numbers of a scorer's versions, oldest first; empty if there is none."""
    numbers = [int(text) for text in store.children(f"{SCORERS}/{name}") if text.isdigit()]
    return [number for number in numbers if store.exists(manifest_key(name, number))]


def trained_names(store: Store) -> list[str]:
    """The names that have a version, sorted."""
    return [name for name in store.children(SCORERS) if trained_versions(store, name)]


def get_trained(store: Store, name: str, *, version: int | None = None) -> TrainedScorer:
    """A version of a scorer, the newest by default. UnknownNameError for a name without any, NotFoundError for a
    version that is not there, StoreError for a record that is damaged."""
    check_name("scorer", name)
    versions = trained_versions(store, name)
    if not versions:
        raise UnknownNameError.among("trained scorer", name, trained_names(store))
    if version is not None and version not in versions:
        raise NotFoundError(f"scorer {name} has no version {version}", hint=f"its newest is {versions[-1]}")
    return read_manifest(store, manifest_key(name, version or versions[-1]))


def list_trained(store: Store) -> list[TrainedScorer]:
    """Every version of every scorer, by name and number."""
    return [get_trained(store, name, version=v) for name in trained_names(store) for v in trained_versions(store, name)]


def read_manifest(store: Store, key: str) -> TrainedScorer:
    """The version that a key of scorers/ records; StoreError if it does not read as one."""
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        groups = {group: tuple(TrainedFile(**file) for file in record[group]) for group in ("files", "papers")}
        found = TrainedScorer(**record | groups)
        expected = manifest_key(found.name, found.version)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(f"{key} does not read as a trained scorer") from error
    if expected != key:
        raise _damaged(f"{key} is the record of {expected}")
    return found


def described(files: Mapping[str, Path]) -> tuple[TrainedFile, ...]:
    """Local files by name, as a record describes them."""
    return tuple(TrainedFile(name, sha256_file(path), path.stat().st_size) for name, path in sorted(files.items()))


def _folder(name: str, version: int) -> str:
    return f"{SCORERS}/{name}/{version:010d}"


def _damaged(what: str) -> StoreError:
    return StoreError(what, code="damaged", hint="restore it from a copy of the store")
