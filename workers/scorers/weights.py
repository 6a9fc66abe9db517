"""The files that decide a score: where each lies on this machine, and whether it is the one that is meant. Fetches
nothing (`files.pull` does) and loads no model."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ranking.errors import PairsieveError
from ranking.settings import load_settings
from workers.scorers.files.digests import file_digest
from workers.scorers.files.locks import FIRST_USE, Lock, lock_path, read_lock, write_lock
from workers.scorers.files.places import HubFile, below, place_of


@dataclass(frozen=True)
class Asset:
    """One file that decides a score.

    `name` is its place below the weights folder, "pickscore-v1/model.safetensors". `source` says where it comes from,
    "hf://org/repo@revision/file", "https://…" or "pypi:name==version"; it is empty for a file that lies at `path`
    because it came with a package. `sha256` is the pin; None leaves it to the first pull or use, which then keeps it.
    `bytes` is its size.
    """

    name: str
    source: str = ""
    sha256: str | None = None
    bytes: int | None = None
    path: Path | None = None


_BLOB = re.compile(r"[0-9a-f]{64}")  # the Hugging Face cache names a large file by its SHA-256


class WeightsError(PairsieveError):
    """A file of weights is missing, or is not the one that its pin names."""

    default_code = "weights"


def assets_in(folder: Path) -> tuple[Asset, ...]:
    """Every file of a folder that came with a package."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Asset(path.relative_to(folder).as_posix(), path=path) for path in files)


def weights_folder() -> Path:
    """Where weights are kept on this machine: PAIRSIEVE_WEIGHTS. Need not exist."""
    return _weights_folder(os.environ.get("PAIRSIEVE_WEIGHTS"), str(Path.cwd()))


@lru_cache(maxsize=8)
def _weights_folder(named: str | None, cwd: str) -> Path:
    """Settings take milliseconds to read, and every file of every scorer asks: `named` and `cwd` are what the answer
    depends on."""
    del named
    return Path(os.path.normpath(Path(cwd, Path(load_settings().weights).expanduser())))


def located(asset: Asset) -> Path | None:
    """Where the file lies on this machine, or None: at the path it came with, below the weights folder, or in the
    Hugging Face cache at its commit. Does not hash it."""
    if asset.path is not None and (asset.path.is_file() or not asset.source):
        return asset.path if asset.path.is_file() else None
    folder = weights_folder()
    placed = below(folder, asset.name)
    return placed if placed.is_file() else _in_hub_cache(asset, folder)


def locked(asset: Asset) -> Lock | None:
    """What the first pull or use of a file has fixed on this machine."""
    return read_lock(weights_folder(), asset.name, asset.source) if _fetched(asset) else None


def digest(asset: Asset, *, fresh: bool = False) -> str:
    """Its SHA-256, 64 hex digits, from memory where a large file looks untouched and `fresh` is not asked for.

    WeightsError if it is missing, or not what its pin or, for a file without a pin, its lock says. The first look at
    a file without either fixes it.
    """
    path = _there(asset)
    folder = weights_folder()
    try:
        found = file_digest(path, folder / ".digests", fresh=fresh)
    except OSError as error:
        raise WeightsError(
            f"the weights {path} cannot be read ({error.strerror})", code="weights-unreadable", hint="check the file"
        ) from error
    lock, blob = locked(asset), _BLOB.fullmatch(path.resolve().name)
    meant = asset.sha256 or (lock.sha256 if lock else None) or (blob[0] if blob else None)
    if meant is not None and found != meant:
        fixed = (
            "its pin" if asset.sha256 else f"what was fixed at the {lock.learnt}" if lock else "what the hub named it"
        )
        remove = f", or remove {lock_path(folder, asset.name)} if you changed it on purpose"
        raise WeightsError(
            f"{path} is another file: its sha256 is {found[:12]}…, {fixed} is {meant[:12]}…",
            code="weights-changed",
            hint="fetch it again with `pairsieve scorers pull`" + (remove if lock and not asset.sha256 else ""),
        )
    if asset.sha256 is None and lock is None and _fetched(asset):
        with suppress(OSError):  # where nothing can be kept, the scorer's id alone tells that it is another file
            first = Lock(asset.source, found, path.stat().st_size, _commit_of(asset, path), FIRST_USE)
            write_lock(folder, asset.name, first)
    return found


def verified(asset: Asset) -> Path:
    """Its local path, after hashing it again. WeightsError if it is missing or not what its pin says."""
    digest(asset, fresh=True)
    return _there(asset)


def missing(asset: Asset, scorer: str = "") -> WeightsError:
    """The error for a file that is not here; `scorer` is the name to pull it by."""
    if not _fetched(asset):
        return WeightsError(
            f"the weights {asset.path} are gone", code="weights-missing", hint="install the package again"
        )
    placed = below(weights_folder(), asset.name)
    if not asset.source:
        what, hint = f"there is no {placed}", "put the file there; nobody offers it at an address"
    else:
        cached = isinstance(place_of(asset.source), HubFile)
        what = f"neither {placed} nor the Hugging Face cache has them" if cached else f"there is no {placed}"
        hint = f"fetch them with `pairsieve scorers pull{f' {scorer}' if scorer else ''}`"
    return WeightsError(f"the weights {asset.name} are not on this machine: {what}", code="weights-missing", hint=hint)


def _fetched(asset: Asset) -> bool:
    """Whether a file is fetched or placed by the user, not part of a package or store."""
    return asset.path is None or (bool(asset.source) and not asset.path.is_file())


def _there(asset: Asset) -> Path:
    path = located(asset)
    if path is None:
        raise missing(asset)
    return path


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE", constants.HF_HUB_CACHE)).expanduser()


def _in_hub_cache(asset: Asset, folder: Path) -> Path | None:
    place = place_of(asset.source) if asset.source else None
    if not isinstance(place, HubFile):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    lock = read_lock(folder, asset.name, asset.source)
    revision = lock.commit if lock and lock.commit and not place.pinned else place.revision
    try:
        found = try_to_load_from_cache(place.repo, place.path, cache_dir=_hub_cache(), revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def _commit_of(asset: Asset, path: Path) -> str | None:
    """The commit that a file came from: of its source, or of the snapshot of the cache that it lies in."""
    place = place_of(asset.source) if asset.source else None
    if isinstance(place, HubFile) and place.pinned:
        return place.revision
    try:
        parts = path.relative_to(_hub_cache()).parts
    except ValueError:
        return None
    return parts[2] if len(parts) > 3 and parts[1] == "snapshots" else None
