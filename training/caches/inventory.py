"""What caches there are on this machine, and the removal of those that nobody is using. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.caches.claims import claimed
from training.caches.places import ABOUT, IN_USE, cache_root

KINDS = ("latents", "prompts", "reference", "features")


@dataclass(frozen=True)
class CacheFolder:
    """One cache: of what `kind`, for which `model` (for features the scorer), what its contents depend on (`key`), how
    many `bytes` and `files` it has, and when it was `used` last, as ISO text."""

    kind: str
    name: str
    model: str
    key: dict[str, Any]
    bytes: int
    files: int
    used: str
    folder: Path


def list_caches() -> list[CacheFolder]:
    """All of them, by kind and then the latest used first."""
    root = cache_root()
    found = []
    for kind in KINDS:
        place = root / kind
        caches = [_described(kind, folder) for folder in place.iterdir()] if place.is_dir() else []
        found += sorted((cache for cache in caches if cache is not None), key=lambda cache: cache.used, reverse=True)
    return found


def kept_bytes(model: str) -> int:
    """What the caches of a model of this name have on disk, of whatever weights it was then."""
    return sum(cache.bytes for cache in list_caches() if cache.model == model)


def clear_cache(cache: CacheFolder) -> bool:
    """Delete one; False, and nothing is deleted, where a run is using it."""
    aside = cache.folder.with_name(f".{cache.name}.{os.getpid()}")
    try:
        with claimed(cache.folder / IN_USE) as mine:
            if not mine:
                return False
            cache.folder.rename(aside)
    except FileNotFoundError:
        return True  # somebody else has cleared it
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _described(kind: str, folder: Path) -> CacheFolder | None:
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        used = datetime.fromtimestamp((folder / IN_USE).stat().st_mtime, UTC)
        model, key = str(about["model"]), dict(about["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # cleared at this moment, or never finished
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append((Path(parent) / name).stat().st_size)
    return CacheFolder(
        kind, folder.name, model, key, sum(sizes), len(sizes), used.strftime("%Y-%m-%dT%H:%M:%SZ"), folder
    )
