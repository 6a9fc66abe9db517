"""Puts aside what a plan found, and deletes what has lain aside for long enough. Asks again before each step."""

import contextlib
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ranking.collection.candidates import Ages, Candidate, Collection, extent, kind_of, old_enough
from ranking.collection.named import Named, read_named
from ranking.errors import NotFoundError
from ranking.names import canonical_json, utc_now
from ranking.store.blobs import Store
from ranking.store.commits import get_commit
from ranking.store.trash import TRASH, bring_back, original_key, trash_key

Progress = Callable[[str, int, int], None]
"""Called as progress(step, done, total)."""


def silent(step: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Collected:
    """What a collection did: its id (None if it took nothing), what it put aside or, in tmp/, deleted; what
    was named or touched since the plan and so stayed; what came back from the trash because something names it
    by now; what was deleted from the trash."""

    id: str | None
    taken: int
    taken_bytes: int
    stayed: int
    brought_back: tuple[str, ...]
    purged: int
    purged_bytes: int


def collect(store: Store, collection: Collection, *, progress: Progress | None = None) -> Collected:
    """Carry a plan out: write `gc/<id>.json`, move each candidate into `trash/<id>/`, bring back what a
    writer has named meanwhile, then delete what earlier collections put aside.

    Whatever is killed wherever, running it again finishes; two at once take each thing once. docs/decisions/0006
    has the reasons.
    """
    tell = progress or silent
    number, taken, stayed = None, 0, 0
    taken_bytes = 0
    if collection.candidates:
        number = _record(store, collection)
        named = read_named(store)
        for done, candidate in enumerate(collection.candidates):
            tell("moving to the trash", done, len(collection.candidates))
            if _take(store, candidate, number, named, collection.ages, collection.now):
                taken += 1
                taken_bytes += candidate.bytes
            else:
                stayed += 1
        tell("moving to the trash", len(collection.candidates), len(collection.candidates))
    brought, purged, purged_bytes = purge(
        store, now=collection.now, ages=collection.ages, spare=number, progress=progress
    )
    return Collected(number, taken, taken_bytes, stayed, brought, purged, purged_bytes)


def purge(
    store: Store, *, now: float, ages: Ages | None = None, spare: str | None = None, progress: Progress | None = None
) -> tuple[tuple[str, ...], int, int]:
    """Bring back whatever lies in the trash and is named, and delete what has lain there for the grace
    period, except what the collection `spare` put there; returns the keys that came back, and the number and
    bytes of the deleted."""
    ages, tell = ages or Ages(), progress or silent
    aside = store.entries(TRASH)  # listed before the markers are read: what is put aside later, waits
    if not aside:
        return (), 0, 0
    named = read_named(store)
    brought: list[str] = []
    purged = purged_bytes = 0
    for done, entry in enumerate(aside):
        tell("emptying the trash", done, len(aside))
        key = original_key(entry.key)
        if kind_of(key, named) is None and not store.exists(key):
            if bring_back(store, key):
                brought.append(key)
        elif entry.modified <= now - ages.grace and entry.key.split("/")[1] != spare:
            # Not sooner, even where the key is in its place: in a bucket whoever moves it may have copied it and be
            # about to delete it there.
            store.delete(entry.key)
            purged += 1
            purged_bytes += entry.bytes
    tell("emptying the trash", len(aside), len(aside))
    return tuple(brought), purged, purged_bytes


def restore(store: Store, collection: str) -> list[str]:
    """Move everything that a collection put aside and that is not deleted yet to where it was; returns the
    keys. NotFoundError if there is no such collection, or nothing left of it."""
    trashed = store.list(f"{TRASH}/{collection}") if collection in store.children(TRASH) else []
    if not trashed:
        raise NotFoundError(
            f"nothing of a collection {collection} is in the trash", hint="`pairsieve store gc` lists what is"
        )
    for key in trashed:
        if not store.exists(original_key(key)):
            store.move(key, original_key(key))
    return [original_key(key) for key in trashed]


def _record(store: Store, collection: Collection) -> str:
    stamp = datetime.fromtimestamp(collection.now, UTC).strftime("%Y%m%dt%H%M%S")
    number = f"{stamp}-{secrets.token_hex(4)}"
    record = {"created": utc_now(), "candidates": [asdict(each) for each in collection.candidates]}
    store.put_if_absent(f"gc/{number}.json", canonical_json(record))
    return number


def _take(store: Store, candidate: Candidate, number: str, named: Named, ages: Ages, now: float) -> bool:
    """Put one candidate aside, unless it was touched or named since the plan, or is gone."""
    if candidate.local:
        return _remove_scratch(store, candidate, before=now - ages.scratch)
    entry = store.entry(candidate.key)
    if entry is None or not old_enough(entry, ages, now) or kind_of(candidate.key, named) is None:
        return False
    if _named_now(store, candidate.key):
        return False
    store.move(candidate.key, trash_key(number, candidate.key))
    return True


def _named_now(store: Store, key: str) -> bool:
    """Whether the marker of a score file's unit names it by now: one small read, so asked for each file."""
    folder, _, rest = key.partition("/")
    if folder != "data":
        return False
    scorer_id, unit, _ = rest.split("/")
    try:
        return get_commit(store, scorer_id=scorer_id, unit=unit).file == key
    except NotFoundError:
        return False


def _remove_scratch(store: Store, candidate: Candidate, *, before: float) -> bool:
    path = store.workspace / candidate.key
    if extent(path)[1] > before:
        return False
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return True
