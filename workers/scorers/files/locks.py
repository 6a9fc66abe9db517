"""What this machine has fixed about a file of weights that the registry does not pin: trust on first use. One small
JSON file per file of weights, below `.locks/` of the weights folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.scorers.files.digests import write_small
from workers.scorers.files.places import below

FIRST_USE = "first use"
FIRST_PULL = "first pull"
HUB = "the hub"


@dataclass(frozen=True)
class Lock:
    """The file that `source` has meant since it was first seen: its SHA-256, its size, the commit where it comes from
    a repository, and who said so (`learnt`: the hub, the first pull, the first use)."""

    source: str
    sha256: str
    bytes: int
    commit: str | None
    learnt: str


def lock_path(folder: Path, name: str) -> Path:
    """Where the lock of a file of that name lies."""
    path = below(folder / ".locks", name)
    return path.with_name(f"{path.name}.json")


def read_lock(folder: Path, name: str, source: str) -> Lock | None:
    """What is fixed, or None; a lock of another source says nothing, for the registry now means another file."""
    try:
        lock = Lock(**json.loads(lock_path(folder, name).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return lock if lock.source == source else None


def write_lock(folder: Path, name: str, lock: Lock) -> None:
    """Fix it. OSError where the folder cannot be written."""
    write_small(lock_path(folder, name), asdict(lock))
