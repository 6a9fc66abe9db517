"""I5: the numbered records hash to what they say, follow from each other, and cite files that are there."""

from ranking.audit.files import NamedFile, is_there
from ranking.audit.holdings import Holdings, canonical
from ranking.audit.report import Ledger
from ranking.errors import NotFoundError, PairsieveError
from ranking.flags.pinned import flaws_of
from ranking.names import parse_json
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, get_snapshot, snapshot_key


def check_history(store: Store, held: Holdings, ledger: Ledger) -> Snapshot | None:
    """Look at every snapshot, one at a time as each may list thousands of files, and at the chains; returns
    the newest snapshot if it reads."""
    canonical(store, ledger, 5, [*held.subsets, *held.trained, *held.pins, *held.runs, *held.run_ends])
    canonical(store, ledger, 5, [*held.studies, *held.cells])
    for name, revisions in held.revisions.items():
        _check_chain(ledger, name, [(revision.number, revision.sha, revision.parent) for revision in revisions])
        keys = [f"datasets/{name}/revisions/{revision.number:010d}.json" for revision in revisions]
        canonical(store, ledger, 5, keys)
        ledger.count(5, "revisions", len(revisions))
    recorded = {commit.file: (commit.sha256, commit.bytes, commit.rows) for commit in held.commits.values()}
    newest: Snapshot | None = None
    before: Snapshot | None = None
    for n in held.snapshots:
        snapshot = _read(store, ledger, n)
        if snapshot is None:
            before = newest = None
            continue
        _check_snapshot(held, ledger, snapshot, before)
        if before is None or before.flags != snapshot.flags:
            for flaw in flaws_of(store, snapshot.flags):
                ledger.error(3, snapshot_key(n), f"the flags of snapshot {n}: {flaw}")
        for member in snapshot.members:
            # What a marker names, too, was looked for already; a marker may be gone, a snapshot's file not.
            if recorded.get(member.file) != (member.sha256, member.bytes, member.rows):
                by = snapshot_key(n)
                is_there(store, held, ledger, NamedFile(member.file, by, member.sha256, member.bytes, member.rows))
                ledger.count(5, "members without their marker")
        ledger.count(5, "snapshots")
        before = newest = snapshot
    ledger.count(5, "subsets", len(held.subsets))
    ledger.count(5, "trained scorers", len(held.trained))
    ledger.count(5, "studies", len(held.studies))
    _check_gaps(store, held, ledger)
    return newest


def _check_gaps(store: Store, held: Holdings, ledger: Ledger) -> None:
    """A number below the newest may be missing only where a collection has retired it, and says so."""
    missing = set(range(1, max(held.snapshots, default=0))) - set(held.snapshots)
    if not missing:
        return
    retired: set[str] = set()
    for key in store.list("gc"):
        with ledger.expecting(5, key):
            retired.update(taken["key"] for taken in parse_json(store.get(key), where=key)["candidates"])
    for n in sorted(missing):
        if snapshot_key(n) not in retired:
            ledger.error(5, snapshot_key(n), f"snapshot {n} is gone, and no collection has retired it")


def _read(store: Store, ledger: Ledger, n: int) -> Snapshot | None:
    key = snapshot_key(n)
    try:
        snapshot = get_snapshot(store, n)
    except NotFoundError:
        return None  # retired since it was listed
    except PairsieveError as error:
        ledger.error(5, key, error.message)
        return None
    canonical(store, ledger, 5, [key])
    if snapshot.n != n:
        ledger.error(5, key, f"{key} is the manifest of snapshot {snapshot.n}")
    return snapshot


def _check_snapshot(held: Holdings, ledger: Ledger, snapshot: Snapshot, before: Snapshot | None) -> None:
    key = snapshot_key(snapshot.n)
    if before is not None and before.n == snapshot.n - 1 and snapshot.parent != before.sha:
        ledger.error(5, key, f"{key} does not name snapshot {before.n} as its parent")
    if (snapshot.parent is None) != (snapshot.n == 1):
        ledger.error(5, key, f"{key} has {'no' if snapshot.parent is None else 'a'} parent")
    for name, pin in snapshot.datasets.items():
        revisions = held.revisions.get(name, [])
        if len(revisions) < pin.revision or revisions[pin.revision - 1].sha != pin.sha:
            ledger.error(4, key, f"{key} cites revision {pin.revision} of {name}, which is not there as it says")
    if len({(member.scorer_id, member.unit) for member in snapshot.members}) != len(snapshot.members):
        ledger.error(5, key, f"{key} lists a unit of a scorer twice")


def _check_chain(ledger: Ledger, name: str, chain: list[tuple[int, str, str | None]]) -> None:
    for place, (number, _, parent) in enumerate(chain):
        key = f"datasets/{name}/revisions/{number:010d}.json"
        if number != place + 1:
            ledger.error(5, key, f"{key} is the record of revision {number} at place {place + 1}")
        if parent != (chain[place - 1][1] if place else None):
            ledger.error(5, key, f"{key} does not follow from the revision before")
