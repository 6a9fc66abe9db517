"""Finds what a collection would take. Takes nothing."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from stat import S_ISDIR

from ranking.collection.derived import FOLDERS, describes
from ranking.collection.named import Named, read_named
from ranking.store.backend import Entry, is_scratch
from ranking.store.blobs import Store
from ranking.studies import STUDIES
from ranking.trained import SCORERS

DAY = 86_400.0


@dataclass(frozen=True)
class Ages:
    """How old a thing must be, in seconds since its last change, before it is taken: data, unfinished files
    of this machine, what lies in the trash, and snapshots that nothing cites (None: they stay)."""

    data: float = 7 * DAY
    scratch: float = DAY
    grace: float = DAY
    snapshots: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A thing that nothing names: a key of the store or, in tmp/ and broker/, a path below the workspace."""

    kind: str
    key: str
    bytes: int
    modified: float

    @property
    def local(self) -> bool:
        """Whether it is a file or folder of this machine that never had a key."""
        return is_scratch(self.key.partition("/")[0])


@dataclass(frozen=True)
class Collection:
    """What a collection would take at Unix time `now`, sorted by kind and key."""

    now: float
    ages: Ages
    candidates: tuple[Candidate, ...]

    def by_kind(self) -> dict[str, list[Candidate]]:
        """The candidates of each kind."""
        kinds: dict[str, list[Candidate]] = {}
        for candidate in self.candidates:
            kinds.setdefault(candidate.kind, []).append(candidate)
        return kinds


def plan_collection(store: Store, *, now: float, ages: Ages | None = None) -> Collection:
    """Everything that nothing names and that is older than `ages` allow. StoreError if a marker cannot be
    read.

    Files are listed before the markers are read, so a file that is committed in between counts as named.
    """
    ages = ages or Ages()
    old = [entry for folder in _FOLDERS for entry in store.entries(folder) if _taken_at(entry, ages) <= now]
    named = read_named(store)
    found = [
        Candidate(kind, entry.key, entry.bytes, entry.modified)
        for entry in old
        if (kind := kind_of(entry.key, named)) is not None
    ]
    found += [each for each in scratch(store.workspace) if each.modified <= now - ages.scratch]
    return Collection(now, ages, tuple(sorted(found, key=lambda each: (each.kind, each.key))))


def kind_of(key: str, named: Named) -> str | None:
    """What a key is if nothing names it; None if it must stay."""
    if key in named.files:
        return None
    check = _FOLDERS.get(key.partition("/")[0])
    return check(key, named) if check else None


def old_enough(entry: Entry, ages: Ages, now: float) -> bool:
    """Whether a key has lain untouched for as long as its kind must."""
    return _taken_at(entry, ages) <= now


def scratch(workspace: Path) -> Iterator[Candidate]:
    """The unfinished files of this machine, and messages that no worker will look at again, of any age."""
    for kind, folder in (
        ("unfinished files", "tmp"),
        ("unfinished messages", "broker/tmp"),
        ("refused messages", "broker/rejected"),
    ):
        place = workspace / folder
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            size, modified = extent(path)
            yield Candidate(kind, f"{folder}/{path.name}", size, modified)


def extent(path: Path) -> tuple[int, float]:
    """Bytes of a file or of all files of a folder, and when any of it was last changed."""
    size, modified = 0, 0.0
    for part in chain([path], _below(path)):
        try:
            stat = part.lstat()
        except FileNotFoundError:
            continue  # somebody is at work in there
        size += stat.st_size if not S_ISDIR(stat.st_mode) else 0
        modified = max(modified, stat.st_mtime)
    return size, modified or float("inf")


def _below(folder: Path) -> Iterator[Path]:
    """All there is below a folder. What vanishes while it is walked, the folder itself too, is left out."""
    for parent, folders, files in os.walk(folder):  # unlike rglob it passes over a folder that is gone
        yield from (Path(parent) / name for name in (*folders, *files))


def _scores(key: str, named: Named) -> str | None:  # noqa: ARG001
    return "scores"


def _dataset_files(key: str, named: Named) -> str | None:  # noqa: ARG001
    parts = key.split("/")
    return None if len(parts) != 4 or parts[2] == "revisions" else "dataset files"


def _subset_files(key: str, named: Named) -> str | None:  # noqa: ARG001
    return None if key.endswith("/manifest.json") else "subset files"


def _scorer_files(key: str, named: Named) -> str | None:  # noqa: ARG001
    return None if key.endswith("/manifest.json") else "scorer files"


def _study_files(key: str, named: Named) -> str | None:  # noqa: ARG001
    return "study files" if key.split("/")[3:4] == ["tallies"] else None


def _run_files(key: str, named: Named) -> str | None:
    parts = key.split("/")
    if parts[2:3] == ["checkpoints"]:
        return "checkpoints"
    if len(parts) < 4 or not parts[2].startswith("output-") or parts[1] not in named.outputs:
        return None
    return None if "/".join(parts[:3]) == named.outputs[parts[1]] else "run outputs"


def _derived_tables(key: str, named: Named) -> str | None:
    return None if describes(key, named.shas) else "derived tables"


def _thumbnails(key: str, named: Named) -> str | None:
    parts = key.split("/")
    return "thumbnails" if len(parts) == 2 and parts[1].removesuffix(".parquet") not in named.units else None


def _selftests(key: str, named: Named) -> str | None:  # noqa: ARG001
    return "self-tests"


def _snapshots(key: str, named: Named) -> str | None:
    return None if int(key.rpartition("/")[2].removesuffix(".json")) in named.snapshots else "snapshots"


_FOLDERS: dict[str, Callable[[str, Named], str | None]] = {
    "data": _scores,
    "datasets": _dataset_files,
    "subsets": _subset_files,
    "runs": _run_files,
    STUDIES: _study_files,
    SCORERS: _scorer_files,
    **dict.fromkeys(FOLDERS, _derived_tables),
    "thumbs": _thumbnails,
    "selftest": _selftests,
    "snapshots": _snapshots,
}
"""For each folder that may hold what nothing names: the kind of a key that no marker names as a file."""


def _taken_at(entry: Entry, ages: Ages) -> float:
    """The Unix time from which a key may be taken, if nothing names it."""
    top = entry.key.partition("/")[0]
    if top == "snapshots":
        return entry.modified + ages.snapshots if ages.snapshots is not None else float("inf")
    return entry.modified + (ages.scratch if top == "selftest" else ages.data)
