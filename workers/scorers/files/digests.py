"""The SHA-256 of large files, remembered as long as the file looks untouched: 4 GB take seconds to read, and every
command asks."""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

from ranking.names import sha256_file, sha256_hex

_LARGE = 2**20  # bytes from which on looking a digest up is worth it
_SETTLED = 2.0  # seconds; a file changed this lately may change again within the same tick of its clock


def file_digest(path: Path, memory: Path, *, fresh: bool = False) -> str:
    """The SHA-256 of a file, 64 hex digits; OSError if it cannot be read.

    A file of 1 MiB or more whose path, size, mtime (ns) and inode are those of an earlier call is not read again,
    unless `fresh`. Notes about it lie in the folder `memory`; one that cannot be written costs time only.
    """
    looks, note = _looks(path), _note(path, memory)
    if not fresh and looks[0] >= _LARGE:
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(note.read_bytes())
            if known["looks"] == looks and known["path"] == str(path):
                return str(known["sha256"])
    found = sha256_file(path)
    if looks[0] >= _LARGE and looks == _looks(path) and time.time() - looks[1] / 1e9 > _SETTLED:
        remember(path, memory, found)
    return found


def remember(path: Path, memory: Path, sha256: str) -> None:
    """Note the digest of a file that nobody else writes to, as it is now."""
    with suppress(OSError):
        write_small(_note(path, memory), {"path": str(path), "looks": _looks(path), "sha256": sha256})


def write_small(path: Path, value: object) -> None:
    """Write a value as JSON under its final name at once or not at all. OSError where that cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _note(path: Path, memory: Path) -> Path:
    return memory / f"{sha256_hex(os.fsencode(path.absolute()))[:32]}.json"


def _looks(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
