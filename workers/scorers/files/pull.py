"""What `pairsieve scorers pull` does: which files are missing, how large they are, and each fetched, checked and put
into its place at once.

Our own transfer over https, because huggingface_hub checks sizes but no hashes, starts over after a kill, and knows
nothing of files outside the hub; its token, cache and environment variables are kept to.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from ranking.errors import PairsieveError
from ranking.names import sha256_hex
from workers.scorers.files.digests import remember
from workers.scorers.files.hub import commit_of, facts_of
from workers.scorers.files.locks import FIRST_PULL, HUB, Lock, write_lock
from workers.scorers.files.packages import receive_package
from workers.scorers.files.places import HubFile, PackageFile, WebFile, below, place_of
from workers.scorers.files.transfer import Wanted, forget, receive
from workers.scorers.files.wire import PullError, client, hub_headers
from workers.scorers.weights import Asset, WeightsError, digest, located, locked, weights_folder

_SPARE = 256 * 2**20  # bytes that a pull leaves free on the disk
_MOST = 200 * 2**30  # bytes of a file of which nothing is known


@dataclass(frozen=True)
class Need:
    """A file to fetch. `bytes` is None where only the transfer will tell; `have` is what an earlier one has left."""

    asset: Asset
    wanted: Wanted
    commit: str | None
    part: Path
    have: int

    @property
    def bytes(self) -> int | None:
        """Its size."""
        return self.wanted.bytes


@dataclass
class Survey:
    """What a pull would do: files that are here, files to fetch, and files that cannot be fetched, with the reason."""

    here: list[Asset] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    troubles: list[tuple[Asset, PairsieveError]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Bytes still to be fetched, of those files whose size is known."""
        return sum(max(0, (need.bytes or 0) - need.have) for need in self.needs)


def survey(assets: Sequence[Asset]) -> Survey:
    """Look at every file, here and, where something is missing, at its source. Fetches and changes nothing.

    A revision becomes a commit once for all files of a repository, and stays the commit that this machine's locks
    have. PullError where this machine is offline and something is missing.
    """
    found = Survey()
    distinct = {(asset.name, asset.source): asset for asset in assets}.values()
    absent = [asset for asset in distinct if not _is_here(asset, found)]
    if not absent:
        return found
    commits: dict[tuple[str, str], str] = {}
    for asset in distinct:
        lock, place = locked(asset), place_of(asset.source) if asset.source else None
        if isinstance(place, HubFile) and lock and lock.commit:
            commits.setdefault((place.repo, place.revision), lock.commit)
    with client() as http:
        for asset in absent:
            try:
                found.needs.append(_need(http, asset, commits))
            except PairsieveError as error:
                found.troubles.append((asset, error))
    return found


def check_room(found: Survey) -> int:
    """The bytes free where weights are kept. PullError if what is to be fetched does not fit."""
    folder = weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if found.left + _SPARE > free:
        raise PullError(
            f"{found.left / 1e9:.1f} GB are to be fetched, but {folder} has {free / 1e9:.1f} GB free",
            code="disk-full",
            hint="make room, pull fewer scorers, or set PAIRSIEVE_WEIGHTS to another disk",
        )
    return free


def fetch(need: Need, arrived: Callable[[int], None]) -> Path:
    """Fetch one file, check it, fix it in the lock and put it into its place; gives the path.

    `arrived` is called with the bytes that are there. A second process that wants the same file waits for the first.
    PullError where it cannot be; nothing is ever under the final name but the whole, right file.
    """
    folder = weights_folder()
    final = below(folder, need.asset.name)
    with _alone(need.part.with_suffix(".lock")):
        here = Survey()
        if _is_here(need.asset, here):  # another process was quicker
            arrived(need.bytes or 0)
            return located(need.asset) or final
        place = place_of(need.asset.source)
        if isinstance(place, PackageFile):
            sha256 = receive_package(place.requirement, need.wanted, need.part, arrived)
        else:
            with client() as http:
                sha256 = receive(http, need.wanted, need.part, arrived)
        learnt = HUB if need.commit else FIRST_PULL
        size = need.part.stat().st_size
        write_lock(folder, need.asset.name, Lock(need.asset.source, sha256, size, need.commit, learnt))
        final.parent.mkdir(parents=True, exist_ok=True)
        need.part.replace(final)
        forget(need.part)
        remember(final, folder / ".digests", sha256)  # it was hashed a moment ago
    return final


def _is_here(asset: Asset, found: Survey) -> bool:
    if located(asset) is None:
        return False
    try:
        digest(asset)
    except WeightsError:
        return False
    found.here.append(asset)
    return True


def _need(http: httpx2.Client, asset: Asset, commits: dict[tuple[str, str], str]) -> Need:
    if not asset.source:
        raise PullError(
            f"nobody offers {asset.name} at an address",
            code="no-source",
            hint=f"put it at {below(weights_folder(), asset.name)}",
        )
    lock, place = locked(asset), place_of(asset.source)
    sha256 = asset.sha256 or (lock.sha256 if lock else None)
    if isinstance(place, HubFile):
        key = (place.repo, place.revision)
        commits[key] = commits.get(key) or commit_of(http, place)
        facts = facts_of(http, place, commits[key])
        _agree(asset, "bytes", asset.bytes, facts.bytes)
        _agree(asset, "sha256", sha256, facts.sha256)
        wanted = Wanted(
            asset.name, facts.url, hub_headers(), facts.bytes, facts.bytes, sha256 or facts.sha256, facts.blob
        )
    else:
        url = place.url if isinstance(place, WebFile) else ""
        wanted = Wanted(asset.name, url, {}, asset.bytes or _MOST, asset.bytes, sha256)
    commit = commits[key] if isinstance(place, HubFile) else None
    part = below(weights_folder() / ".partial", asset.name)
    part = part.with_name(f"{part.name}.{sha256_hex(f'{asset.source} {commit}'.encode())[:12]}.part")
    return Need(asset, wanted, commit, part, part.stat().st_size if part.is_file() else 0)


def _agree(asset: Asset, what: str, meant: str | int | None, said: str | int | None) -> None:
    if meant is not None and said is not None and meant != said:
        raise PullError(
            f"the source of {asset.name} has another file: {what} {str(said)[:12]}, not {str(meant)[:12]}",
            code="weights-changed",
            hint="its authors replaced it; a newer version of this package may know the new one",
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes out; the system lets go of it when this one is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
