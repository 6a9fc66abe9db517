"""I3 and I4: every file that something names is there, with the bytes and rows that were recorded."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.audit.holdings import Holdings
from ranking.audit.report import RESTORE, Ledger
from ranking.collection.derived import derived_files
from ranking.errors import PairsieveError
from ranking.flags.records import Batch
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.store.trash import TRASH, original_key

_REBUILT = "it is built again when it is next asked for"
_EARLIER = "remove the marker: the run then goes on from an earlier checkpoint, or begins again"
_BRING_BACK = "run `pairsieve store gc --delete`, which brings back what is named"


@dataclass(frozen=True)
class NamedFile:
    """A file as a record names it; `bytes`, `rows` and `sha256` are None where the record does not say."""

    key: str
    by: str
    sha256: str | None
    bytes: int | None
    rows: int | None
    todo: str = RESTORE


def named_files(held: Holdings) -> Iterator[NamedFile]:
    """The files of all records but snapshots, whose members are looked at one snapshot at a time."""
    for key, commit in held.commits.items():
        yield NamedFile(commit.file, key, commit.sha256, commit.bytes, commit.rows)
    for name, revisions in held.revisions.items():
        for revision in revisions:
            by = f"datasets/{name}/revisions/{revision.number:010d}.json"
            for part in revision.files:
                yield NamedFile(part.file, by, part.sha256, part.bytes, part.rows)
    for key, subset in held.subsets.items():
        yield NamedFile(subset.pairs_key, key, subset.sha256, None, subset.rows)
    for key, foreign in held.foreign.items():
        yield NamedFile(foreign.pairs_key, key, foreign.subset.sha256, None, foreign.subset.rows)
    for key, flag in held.flags.items():
        if isinstance(flag, Batch):
            yield NamedFile(flag.marks.file, key, flag.marks.sha256, flag.marks.bytes, flag.marks.rows)
    for key, cell in held.cells.items():
        part = cell.tallies
        yield NamedFile(part.file, key, part.sha256, part.bytes, part.rows)
    for key, checkpoint in held.checkpoints.items():
        for state in checkpoint.files:
            yield NamedFile(checkpoint.key(state), key, state.sha256, state.bytes, None, todo=_EARLIER)
    for key, trained in held.trained.items():
        for file in (*trained.files, *trained.papers):
            yield NamedFile(trained.key(file), key, file.sha256, file.bytes, None)


def derived(store: Store, held: Holdings, newest: Snapshot | None) -> Iterator[NamedFile]:
    """The files of the derived tables that belong to the newest snapshot and revisions: others may be on
    their way to the trash."""
    shas = {revisions[-1].sha for revisions in held.revisions.values() if revisions}
    if newest is not None:
        shas |= {newest.sha, *(pin.sha for pin in newest.datasets.values())}
    for key, files in derived_files(store, frozenset(shas)).items():
        for part in files:
            yield NamedFile(part.file, key, part.sha256, part.bytes, part.rows, todo=f"remove {key}: {_REBUILT}")


def check_files(store: Store, held: Holdings, ledger: Ledger, newest: Snapshot | None, *, deep: bool) -> None:
    """Look for every named file, and with `deep` hash it and count its rows. What is missing or damaged is
    put down in `ledger.damaged`."""
    files = list(
        {(file.key, file.sha256): file for file in (*named_files(held), *derived(store, held, newest))}.values()
    )
    present = [file for file in files if is_there(store, held, ledger, file)]
    if not deep:
        return

    done = 0

    def check(file: NamedFile) -> None:
        nonlocal done
        _check_content(store, ledger, file)
        done += 1
        ledger.progress("hashing files", done, len(present))

    store.each(check, present, files=True)


def is_there(store: Store, held: Holdings, ledger: Ledger, file: NamedFile) -> bool:
    """Whether the file exists with the recorded size; if not, that is put down."""
    ledger.count(4, "files named")
    entry = held.entries.get(file.key)
    if entry is None or (file.bytes is not None and entry.bytes != file.bytes):
        # The listing may be older than a writer's last word; what counts is what is there now.
        entry = store.entry(file.key)
    if entry is None:
        if not store.exists(file.by):
            return False  # what named it is gone, too
        trashed = any(original_key(key) == file.key for key in held.entries if key.startswith(f"{TRASH}/"))
        ledger.error(
            4, file.key, f"{file.key} is missing, though {file.by} names it", _BRING_BACK if trashed else file.todo
        )
        ledger.damaged.add(file.key)
        return False
    if file.bytes is not None and entry.bytes != file.bytes:
        ledger.error(
            3, file.key, f"{file.key} has {entry.bytes} bytes, not the {file.bytes} that {file.by} records", file.todo
        )
        ledger.damaged.add(file.key)
        return False
    return True


def _check_content(store: Store, ledger: Ledger, file: NamedFile) -> None:
    ledger.count(3, "files")
    try:
        found = store.digest(file.key)
        if found is None:
            return  # a collection took what named it; the listing said it was there
        if file.sha256 is not None and found != file.sha256:
            ledger.error(
                3, file.key, f"{file.key} is damaged: its sha256 is not the one that {file.by} records", file.todo
            )
            ledger.damaged.add(file.key)
            return
        if file.rows is None:
            return  # no table
        rows = pq.read_metadata(store.local(file.key)).num_rows
    except (pa.ArrowException, OSError, PairsieveError) as error:
        ledger.error(3, file.key, f"{file.key} cannot be read ({error})", file.todo)
        ledger.damaged.add(file.key)
        return
    if rows != file.rows:
        ledger.error(3, file.key, f"{file.key} has {rows} rows, not the {file.rows} that {file.by} records", file.todo)
        ledger.damaged.add(file.key)


def check_citations(store: Store, held: Holdings, ledger: Ledger) -> None:
    """I4 for what is no file: the snapshots, subsets and outputs that something cites."""
    shas = {(subset.snapshot.n, subset.snapshot.sha): key for key, subset in held.subsets.items()}
    shas |= {(found.snapshot, found.sha): key for key, found in held.pins.items()}
    shas |= {(study.snapshot.n, study.snapshot.sha): key for key, study in held.studies.items()}
    for (n, sha), key in shas.items():
        ledger.count(4, "citations")
        snapshot = f"snapshots/{n:010d}.json"
        if not store.exists(snapshot):
            ledger.error(4, snapshot, f"snapshot {n} is missing, though {key} cites it")
        elif sha not in (found := store.get(snapshot).decode(errors="replace")) and found:
            ledger.error(4, key, f"{key} cites a snapshot {n} with another sha than the one that is there")
    refs = {subset.ref for subset in held.subsets.values()} | {foreign.ref for foreign in held.foreign.values()}
    for key, run in held.runs.items():
        ledger.count(4, "citations")
        if run.subset not in refs:
            ledger.error(4, key, f"{key} trains on {run.subset}, which is not there")
    runs = {run.run_id for run in held.runs.values()}
    for key, checkpoint in held.checkpoints.items():
        ledger.count(4, "citations")
        if checkpoint.run_id not in runs:
            ledger.error(4, key, f"{key} is of the run {checkpoint.run_id}, which is not there")
    for key, cell in held.cells.items():
        ledger.count(4, "citations")
        for kind, cited, there in (("subset", cell.subset, refs), ("run", cell.run, runs)):
            if cited is not None and cited not in there:
                ledger.error(4, key, f"{key} cites the {kind} {cited}, which is not there")
    for key, end in held.run_ends.items():
        output = end["result"].get("output") if isinstance(end.get("result"), dict) else None
        if output is None:
            continue
        ledger.count(4, "citations")
        if not any(name.startswith(f"{output}/") for name in held.entries) and not store.list(str(output)):
            ledger.error(4, key, f"{key} names the output {output}, of which nothing is there")
