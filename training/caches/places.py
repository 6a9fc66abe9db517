"""Where caches lie, and the folder of each: named by the hash of all that its contents depend on, and of nothing
else. Loads no torch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranking.errors import PairsieveError
from ranking.names import canonical_json, sha256_hex
from ranking.settings import load_settings
from training.caches.claims import shared

ABOUT = "about.json"
IN_USE = "in-use"
SHARDS = "shards"


@dataclass(frozen=True)
class Identity:
    """What a cache holds: its `kind`, the `model` by name for people, and in `key` everything that its values depend
    on. Two configs with equal kind and key share a cache whatever else they say."""

    kind: str
    model: str
    key: Mapping[str, Any]

    @property
    def name(self) -> str:
        """24 hex digits of kind and key."""
        return sha256_hex(canonical_json({"kind": self.kind, "key": dict(self.key)}))[:24]


def cache_root() -> Path:
    """The folder of all caches: `training` below PAIRSIEVE_CACHE, beside the copies of buckets, whose eviction does
    not come here."""
    return Path(load_settings().cache).expanduser().absolute() / "training"


def claim_folder(identity: Identity) -> tuple[Path, int]:
    """The folder of a cache, made if need be, and a descriptor that keeps it from being cleared until it is closed.

    Raises PairsieveError where it cannot be written.
    """
    folder = cache_root() / identity.kind / identity.name
    try:
        held = -1
        while held < 0:
            for name in (SHARDS, "claims", "tmp"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # cleared at this moment
                held = shared(folder / IN_USE)
        os.utime(folder / IN_USE)
        if not (folder / ABOUT).exists():
            about = {"kind": identity.kind, "model": identity.model, "key": dict(identity.key)}
            write_whole(folder / ABOUT, json.dumps(about, indent=1, sort_keys=True).encode(), folder / "tmp")
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder, held


def write_whole(path: Path, data: bytes, tmp: Path) -> None:
    """A file that is either not there or whole: written beside, made to last, then renamed. OSError where it cannot."""
    unfinished = tmp / f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def unwritable(folder: Path, error: OSError) -> PairsieveError:
    """What to say of a cache that cannot be written."""
    return PairsieveError(
        f"the cache {folder} cannot be written ({error.strerror})",
        code="cache-unwritable",
        hint="make room, set PAIRSIEVE_CACHE to another disk, or turn the cache off",
    )


def check_room(what: str, needed: int, *, switch: str) -> None:
    """PairsieveError where `needed` more bytes do not fit on the disk of the caches, before any is written. `switch`
    is the setting that does without `what`."""
    place = cache_root()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise PairsieveError(
            f"{what} need {readable(needed)} below {cache_root()}, where {readable(free)} are free: "
            f"{readable(needed - free)} are missing",
            code="disk-full",
            hint=f"make room, set PAIRSIEVE_CACHE to another disk, or do without by {switch}",
        )


def readable(count: int) -> str:
    """Bytes for people, in units of 1000 as disks are sold."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
