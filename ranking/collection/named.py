"""Which files and snapshots something names, read from every marker there is. Does not look whether they
exist."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ranking.checkpoints import checkpoint_keys, read_checkpoint
from ranking.collection.derived import derived_files
from ranking.datasets import dataset_names, list_revisions
from ranking.errors import NotFoundError
from ranking.runs import run_key, run_result
from ranking.store.blobs import Store
from ranking.store.commits import list_commits
from ranking.store.refs import list_refs
from ranking.store.snapshots import get_snapshot, snapshot_numbers
from ranking.studies import list_studies, read_cell, study_keys
from ranking.subsets.catalog import list_subsets
from ranking.trained import list_trained


@dataclass(frozen=True)
class Named:
    """The keys of files that a marker, revision, snapshot, subset, trained scorer, study, useful derived table or
    checkpoint of a run that is not done names; the units of all datasets; the numbers of snapshots that are the newest,
    or that a subset, study or pin cites; their hashes, with those of the revisions that they saw or that are the
    newest; and for each run that has ended the folder of the output that counts, or None."""

    files: frozenset[str]
    units: frozenset[str]
    snapshots: frozenset[int]
    shas: frozenset[str]
    outputs: dict[str, str | None]


def read_named(store: Store) -> Named:
    """Everything that is named now. StoreError if a marker cannot be read: what it names is then unknown."""
    files = {commit.file for commit in list_commits(store)}
    shas: set[str] = set()
    units: set[str] = set()
    for name in dataset_names(store):
        revisions = list_revisions(store, name)
        files.update(part.file for revision in revisions for part in revision.files)
        units.update(piece.unit for revision in revisions for piece in revision.slices)
        shas.add(revisions[-1].sha)
    cited: dict[int, str] = {}
    for trained in list_trained(store):
        files.update(trained.key(file) for file in (*trained.files, *trained.papers))
    for subset in list_subsets(store):
        files.add(subset.pairs_key)
        cited[subset.snapshot.n] = subset.snapshot.sha
    for study in list_studies(store):
        cited[study.snapshot.n] = study.snapshot.sha
    files.update(read_cell(store, key).tallies.file for key in study_keys(store)[1])
    for found in list_refs(store):
        cited[found.snapshot] = found.sha
    numbers = snapshot_numbers(store)
    for n in numbers:  # one at a time: each may list thousands of files
        try:
            snapshot = get_snapshot(store, n)
        except NotFoundError:
            continue  # retired meanwhile
        files.update(member.file for member in snapshot.members)
        if n == numbers[-1]:
            cited[n] = snapshot.sha
        if n in cited:
            shas.update(pin.sha for pin in snapshot.datasets.values())
    shas.update(cited.values())
    for derived in derived_files(store, frozenset(shas)).values():
        files.update(part.file for part in derived)
    outputs = ended_runs(store)
    files.update(_checkpoint_files(store, outputs))
    return Named(frozenset(files), frozenset(units), frozenset(cited), frozenset(shas), outputs)


def ended_runs(store: Store) -> dict[str, str | None]:
    """The runs that are done or dead, each with the output folder that its end marker names."""
    ended: dict[str, str | None] = {}
    for run_id in store.children("runs"):
        if store.exists(run_key(run_id, "done")):
            ended[run_id] = run_result(store, run_id).get("output")
        elif store.exists(run_key(run_id, "dead")):
            ended[run_id] = None
    return ended


def _checkpoint_files(store: Store, outputs: dict[str, str | None]) -> Iterator[str]:
    """The files and markers of checkpoints that somebody may still go on from, those of dead runs too."""
    for run_id in store.children("runs"):
        if outputs.get(run_id) is not None:
            continue
        for key in checkpoint_keys(store, run_id):
            try:
                checkpoint = read_checkpoint(store, key)
            except NotFoundError:
                continue  # passed by meanwhile
            yield key
            yield from (checkpoint.key(file) for file in checkpoint.files)


def store_time(store: Store) -> float:
    """The Unix time by the earlier of this machine's clock and the store's own, so that a clock that is ahead
    makes nothing look old."""
    key = f"selftest/{secrets.token_hex(16)}"
    store.put_if_absent(key, b"")
    found = store.entry(key)
    store.delete(key)
    return min(time.time(), found.modified if found else time.time())
