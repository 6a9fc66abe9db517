"""Training on a subset that another machine serves: its record and pairs are fetched and hashed before anything else
happens, its pictures as they are needed."""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import PairsieveError, StoreError, UsageError
from ranking.images import Found, TakenDownError
from ranking.names import sha256_hex
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.subsets.catalog import LATEST, Subset, parse_ref
from ranking.subsets.foreign import ForeignSubset, foreign_pairs, keep_foreign, subset_of_record
from training.data.kept import KeptPictures
from training.data.pairs import PairSource, from_store
from training.data.rows import rows_of
from training.data.server import Server

TOKEN = "PAIRSIEVE_TOKEN"
"""The environment variable with the key of the server that a subset is fetched from."""
_FIRST_PATIENCE = 10.0
"""Seconds that a server may be away when it is asked first: a mistyped address should not be waited for."""
_AHEAD = 4
"""Pictures under way or waiting, for each connection."""


def fetch_subset(store: Store, url: str, ref: str, *, token: str | None = None) -> ForeignSubset:
    """Fetch the record and the pairs of a subset that the server at `url` has, "name@version" or a name, for the
    latest, into this store, where `plan_run` finds it as `.ref`.

    Raises UsageError for an unsafe address, NotFoundError with the server's words, ServerError where it cannot be
    asked, and StoreError where the version does not follow from the record, or the pairs' sha256 is another.
    """
    name, version = parse_ref(ref)
    with Server(url, token=token, patience=_FIRST_PATIENCE) as server:
        record = server.json(f"/v1/subsets/{name}@{version}")
    with Server(url, token=token) as server:
        subset = subset_of_record(_manifest(record), where=f"the record of subset {ref} at {server.url}")
        if subset.name != name or version not in (LATEST, subset.version):
            raise StoreError(f"{server.url} gives {subset.ref} for {ref}", code="damaged", hint="check the server")
        dataset = server.json(f"/v1/datasets/{subset.dataset}")
        folder = store.tmp()
        folder.mkdir(parents=True, exist_ok=True)
        pairs = folder / f"pairs-{uuid.uuid4().hex}.parquet"
        server.file(f"/v1/subsets/{subset.ref}/pairs", {"format": "parquet"}, to=pairs, sha256=subset.sha256)
        return keep_foreign(store, subset, pairs, origin_sha=_origin(dataset, server.url), url=server.url)


def from_rest(
    store: Store, subset: ForeignSubset, *, token: str | None = None, connections: int = 8, cache: Path | None = None
) -> PairSource:
    """A subset that was fetched, and its pictures over REST: at most `connections` at once, kept in `cache` (below
    PAIRSIEVE_CACHE) and hashed whenever they are read. Pictures that somebody has taken down by now are left out, those
    in the cache too, which forgets them.

    A picture that cannot be read comes as its error. Raises ServerError where the server stays away for ten minutes or
    sends other bytes than it says.
    """
    if subset.url is None:
        raise UsageError(f"nobody remembers where subset {subset.ref} came from", hint="say it again with --from URL")
    url = subset.url

    def ask() -> Server:
        return Server(url, token=token, connections=connections)

    def taken_down() -> tuple[set[str], set[str]]:
        with ask() as server:
            return _taken_down(server.json("/v1/takedowns"), subset.dataset)

    identity = sha256_hex(f"{subset.dataset}:{subset.origin_sha}".encode())[:16]
    kept = KeptPictures(cache or Path(load_settings().cache).expanduser() / "pictures" / identity)
    named, contents = taken_down()
    for uid in named:
        kept.drop(uid)
    table = foreign_pairs(store, subset)
    gone = pa.array(sorted(named), pa.string())
    shown = pc.invert(pc.or_(*(pc.is_in(table[side], value_set=gone) for side in ("winner_uid", "loser_uid"))))
    allowed = table.filter(shown)

    def picture(server: Server, uid: str) -> Found:
        data = kept.get(uid)
        if data is None:
            found = server.image(uid, dataset=subset.dataset)
            if not isinstance(found, bytes):
                return found
            kept.put(uid, found)
            data = found
        if (sha256 := sha256_hex(data)) in contents:
            kept.drop(uid)
            return TakenDownError(uid, sha256=sha256)
        return data

    def pictures(uids: Collection[str]) -> Iterator[tuple[str, Found]]:
        with ask() as server, ThreadPoolExecutor(connections, thread_name_prefix="pairsieve-pictures") as pool:
            coming: deque[tuple[str, Future[Found]]] = deque()
            waiting = iter(uids)
            try:
                while True:
                    for uid in islice(waiting, _AHEAD * connections - len(coming)):
                        coming.append((uid, pool.submit(picture, server, uid)))
                    if not coming:
                        return
                    uid, found = coming.popleft()
                    yield uid, found.result()
            finally:
                for _, found in coming:
                    found.cancel()

    return PairSource(
        rows_of(allowed, ref=subset.ref, taken_down=len(table) - len(allowed)),
        pictures,
        origin=subset.origin_sha,
        later=lambda uids: ReadKept(kept, tuple(uids)),
        contents_taken=lambda: frozenset(taken_down()[1]),
    )


@dataclass(frozen=True)
class ReadKept:
    """Reads pictures that are kept already, in whatever process: all were fetched when they were looked at first."""

    kept: KeptPictures
    uids: tuple[str, ...]

    def __call__(self) -> dict[str, Found]:
        """By uid."""
        return {uid: self.kept.get(uid) for uid in self.uids}


def _manifest(record: Any) -> dict[str, Any]:
    """A subset's record as the API shows it, as its manifest has it."""
    if not isinstance(record, dict):
        return {}
    plain = ("name", "version", "dataset", "recipe", "rows", "statistics", "sha256", "created")
    found = {name: record[name] for name in plain if name in record}
    return found | {"snapshot": {"n": record.get("snapshot"), "sha": record.get("snapshot_sha")}}


def _origin(dataset: Any, url: str) -> str:
    found = dataset.get("origin_sha") if isinstance(dataset, dict) else None
    if not isinstance(found, str):
        raise PairsieveError(f"{url} does not say which dataset it has", code="server", hint="update the server")
    return found


def _taken_down(listed: Any, dataset: str) -> tuple[set[str], set[str]]:
    """The uids of the dataset's images, and the hashes of any, that are taken down now."""
    live = [each for each in listed["items"] if each["withdrawn"] is None]
    named = {each["uid"] for each in live if each["dataset"] == dataset and each["uid"] is not None}
    return named, {each["sha256"] for each in live if each["sha256"] is not None}


def source_of(store: Store, subset: Subset | ForeignSubset) -> PairSource:
    """The pairs and pictures of a subset, of this store or over REST with the key in PAIRSIEVE_TOKEN; StoreError where
    their sha256 is not the one that is recorded."""
    if isinstance(subset, ForeignSubset):
        return from_rest(store, subset, token=os.environ.get(TOKEN))
    return from_store(store, subset)
