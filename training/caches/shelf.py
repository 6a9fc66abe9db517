"""Rows of numbers by key, in shards on disk: written once and whole, mapped into memory, checked when read. Knows
nothing of what the numbers mean."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ranking.errors import PairsieveError
from training.caches.places import SHARDS, Identity, claim_folder, unwritable, write_whole

Keys = npt.NDArray[np.bytes_]
"""Of n rows, dtype S16: bytes compared as a whole."""

Rows = Mapping[str, npt.NDArray[Any]]
"""Arrays by name; the first axis is that of the rows."""

_KEYS, _CHECKS = "_keys", "_checks"
_ABANDONED = 3600.0  # seconds after which an unfinished file is nobody's


def keys_of(names: Iterable[str]) -> Keys:
    """The keys of names: the first 16 bytes of the SHA-256 of each."""
    return np.array([hashlib.sha256(name.encode()).digest()[:16] for name in names], "S16")


@dataclass(frozen=True)
class _Shard:
    path: Path
    keys: Keys
    checks: Mapping[str, npt.NDArray[np.uint32]]
    values: Mapping[str, Any]

    def row(self, place: int, only: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Row `place` of each array, of shape (1, …)."""
        return {name: self.values[name][place : place + 1] for name in only or self.values}


class Shelf:
    """One cache. Several processes may read and write it at once: a shard appears whole, under a name made from its
    keys and the checksums of its rows, and is never changed. Where two shards hold a key, either row is right."""

    def __init__(self, identity: Identity) -> None:
        """Open it or make it. PairsieveError where its folder cannot be written."""
        self.identity = identity
        self.folder, self._held = claim_folder(identity)
        self._shards: list[_Shard] = []
        self._known: dict[str, int] = {}
        self._sorted: Keys = np.zeros(0, "S16")
        self._places: npt.NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._remove_abandoned()
        self.refresh()

    def close(self) -> None:
        """Let others clear it."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was never opened
            self.close()

    def __len__(self) -> int:
        return len(self._sorted)

    def refresh(self) -> None:
        """See what other processes have finished since. Shards that are not whole are removed."""
        names = sorted(entry.name for entry in os.scandir(self.folder / SHARDS))
        new = [name for name in names if name not in self._known]
        gone = self._known.keys() - set(names)
        if gone:
            self._shards = [shard for shard in self._shards if shard.path.name not in gone]
        for name in new:
            shard = _opened(self.folder / SHARDS / name)
            if shard is None:
                (self.folder / SHARDS / name).unlink(missing_ok=True)
            else:
                self._shards.append(shard)
        if new or gone:
            self._index()

    def has(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """For each key whether there is a row, as of the last `refresh`."""
        return self._find(keys) >= 0

    def put(self, keys: Keys, rows: Rows) -> None:
        """Add one shard. PairsieveError where the disk is full."""
        if not len(keys):
            return
        arrays = {name: np.ascontiguousarray(values) for name, values in rows.items()}
        checks = {
            f"{_CHECKS}.{name}": np.array([_check(row) for row in values], np.uint32) for name, values in arrays.items()
        }
        stored = np.frombuffer(keys.tobytes(), np.uint8).reshape(len(keys), 16)
        data = save({**arrays, **checks, _KEYS: stored})
        path = self.folder / SHARDS / f"{_name(keys, checks)}.safetensors"
        try:
            write_whole(path, data, self.folder / "tmp")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self.refresh()

    def rows(self, keys: Keys, *, only: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """The rows of some keys, which must be there and of one shape, in their order; of all arrays, or `only` some.

        Raises KeyError for a key without a row, PairsieveError for a row that is not what was written.
        """
        found = self._find(keys)
        if (found < 0).any():
            raise KeyError(f"{int((found < 0).sum())} keys without a row in {self.folder}")
        read = []
        for number, place in self._places[found].tolist():
            shard = self._shards[number]
            row = shard.row(place, only)
            if any(_check(values) != shard.checks[name][place] for name, values in row.items()):
                raise PairsieveError(
                    f"{shard.path} is damaged",
                    code="cache-damaged",
                    hint="start the run again: what is damaged is made anew",
                )
            read.append(row)
        return {name: np.concatenate([row[name] for row in read]) for name in read[0]}

    def drop_damaged(self, keys: Keys) -> int:
        """Read the rows of these keys and remove the shards that are not as they were written, so that what they held
        is missing from now on. Returns how many were removed."""
        found = self._find(keys)
        places = self._places[found[found >= 0]]
        wanted = {int(number): places[places[:, 0] == number, 1] for number in np.unique(places[:, 0])}
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            whole = list(pool.map(lambda number: _is_whole(self._shards[number], wanted[number]), wanted))
        damaged = [self._shards[number].path for number, good in zip(wanted, whole, strict=True) if not good]
        for path in damaged:
            path.unlink(missing_ok=True)
        self.refresh()
        return len(damaged)

    def drop(self, keys: Keys) -> None:
        """Remove the shards that hold any of these keys, and with them whatever else they hold."""
        found = self._find(keys)
        for number in np.unique(self._places[found[found >= 0], 0]).tolist():
            self._shards[number].path.unlink(missing_ok=True)
        self.refresh()

    def _find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Places in the index, −1 where there is none."""
        if not len(self._sorted):
            return np.full(len(keys), -1)
        spots = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[spots] == keys, spots, -1)

    def _index(self) -> None:
        self._known = {shard.path.name: place for place, shard in enumerate(self._shards)}
        keys = np.concatenate([np.zeros(0, "S16"), *(shard.keys for shard in self._shards)])
        places = [
            np.stack([np.full(len(shard.keys), number), np.arange(len(shard.keys))], 1)
            for number, shard in enumerate(self._shards)
        ]
        self._sorted, first = np.unique(keys, return_index=True)
        self._places = np.concatenate([np.zeros((0, 2), np.int64), *places])[first]

    def _remove_abandoned(self) -> None:
        for path in (self.folder / "tmp").iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def _opened(path: Path) -> _Shard | None:
    """A shard; None where its length, its keys or its checksums are not what they were."""
    try:
        file = safe_open(path, framework="numpy")
        keys = np.frombuffer(file.get_tensor(_KEYS).tobytes(), "S16")
        found = set(file.keys()) - {_KEYS}
        checks = {name: file.get_tensor(name) for name in found if name.startswith(f"{_CHECKS}.")}
        values = {name.partition(".")[2]: file.get_slice(name.partition(".")[2]) for name in checks}
    except (SafetensorError, OSError, ValueError):
        return None
    if len(found) != 2 * len(values) or _name(keys, checks) != path.stem:
        return None
    return _Shard(path, keys, {name.partition(".")[2]: each for name, each in checks.items()}, values)


def _is_whole(shard: _Shard, places: npt.NDArray[np.int64]) -> bool:
    return all(
        _check(values) == shard.checks[name][place]
        for place in places.tolist()
        for name, values in shard.row(place).items()
    )


def _name(keys: Keys, checks: Mapping[str, npt.NDArray[np.uint32]]) -> str:
    """What a shard with these keys and checksums is called."""
    digest = hashlib.sha256(keys.tobytes())
    for name in sorted(checks):
        digest.update(name.encode() + checks[name].tobytes())
    return digest.hexdigest()[:32]


def _check(values: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values))
