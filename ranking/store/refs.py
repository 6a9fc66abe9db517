"""Pins: named references that keep a snapshot from being retired. Subsets need none, as their manifests cite
one."""

from dataclasses import asdict, dataclass
from typing import Any

from ranking.errors import NotFoundError, StoreError, UsageError
from ranking.names import canonical_json, check_name, parse_json, utc_now
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, snapshot_key
from ranking.store.trash import settle


@dataclass(frozen=True)
class Pin:
    """`kind`/`name` needs snapshot number `snapshot`, whose hash is `sha`; `why` is for people."""

    kind: str
    name: str
    snapshot: int
    sha: str
    why: str
    created: str


def pin(store: Store, kind: str, name: str, snapshot: Snapshot, *, why: str = "") -> Pin:
    """Keep a snapshot for `kind`/`name`; the pin that is there already if it is on the same snapshot.

    To be called before the snapshot is read. UsageError if the name pins another snapshot, StoreError if the
    snapshot was retired meanwhile and is gone.
    """
    key = _key(kind, name)
    store.put_if_absent(key, canonical_json(asdict(Pin(kind, name, snapshot.n, snapshot.sha, why, utc_now()))))
    found = get_pin(store, key)
    if found.sha != snapshot.sha:
        raise UsageError(
            f"pin {kind}/{name} is on snapshot {found.snapshot}, not {snapshot.n}", hint="release it first"
        )
    settle(store, [snapshot_key(snapshot.n)])
    return found


def list_refs(store: Store) -> list[Pin]:
    """Every pin, by kind and name."""
    found = []
    for key in store.list("refs"):
        try:
            found.append(get_pin(store, key))
        except NotFoundError:
            continue  # released since it was listed
    return found


def release(store: Store, kind: str, name: str) -> None:
    """Drop a pin; NotFoundError if there is none of that name."""
    key = _key(kind, name)
    if not store.exists(key):
        raise NotFoundError(f"there is no pin {kind}/{name}", hint="`pairsieve store pins` lists them")
    store.delete(key)


def get_pin(store: Store, key: str) -> Pin:
    """The pin that a key of refs/ holds; NotFoundError if it was released, StoreError if it does not read."""
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        found = Pin(**record)
    except TypeError as error:
        raise _damaged(key, "does not read as a pin") from error
    if key != _key(found.kind, found.name):
        raise _damaged(key, "names another pin")
    return found


def _damaged(key: str, flaw: str) -> StoreError:
    return StoreError(f"{key} {flaw}", code="damaged", hint="restore it from a copy of the store")


def _key(kind: str, name: str) -> str:
    return f"refs/{check_name('pin kind', kind)}/{check_name('pin', name)}.json"
