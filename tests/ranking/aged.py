"""Makes things in a folder store look as if they had lain there for a while."""

import os
import time
from pathlib import Path

from ranking.store.blobs import Store

DAY = 86_400.0


def age(store: Store, key: str, *, days: float) -> None:
    """Make a key's last change `days` ago."""
    at = time.time() - days * DAY
    os.utime(store.local(key), (at, at))


def age_all(store: Store, prefix: str, *, days: float) -> None:
    """The same for every key below a folder."""
    for key in store.list(prefix):
        age(store, key, days=days)


def age_path(path: Path, *, days: float) -> None:
    """The same for a file, or a folder with all that is in it."""
    at = time.time() - days * DAY
    for part in [path, *path.rglob("*")]:
        os.utime(part, (at, at))
