"""Reads every record of a store once, in an order that raises no false alarm while others write. Judges only
whether a record reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ranking.audit.report import Ledger
from ranking.canaries import FOLDER as CANARIES
from ranking.canaries import Canary, get_canary
from ranking.checkpoints import Checkpoint, checkpoint_keys, read_checkpoint
from ranking.datasets import Revision, Slice, list_revisions
from ranking.errors import NotFoundError, PairsieveError, StoreError
from ranking.exchange.records import Imported, get_import
from ranking.flags.records import FLAGS, TAKEDOWNS, Record, read_record, record_keys
from ranking.names import canonical_json, parse_json
from ranking.plan import Attempt, Dead, Plan, get_plan
from ranking.runs import RunPlan, get_run
from ranking.store.backend import Entry
from ranking.store.blobs import Store
from ranking.store.commits import Commit, get_commit
from ranking.store.refs import Pin, get_pin
from ranking.store.snapshots import snapshot_numbers
from ranking.studies import Cell, Study, read_cell, read_study, study_keys
from ranking.subsets.catalog import Subset, get_manifest
from ranking.subsets.foreign import ForeignSubset, foreign_keys, read_foreign
from ranking.trained import SCORERS, TrainedScorer, read_manifest

_Record = TypeVar("_Record")


@dataclass
class Holdings:
    """The records of a store, by key where they have one; `entries` are all keys with sizes, listed last.

    What names something is read before what it names: a file, dataset or snapshot is always there before the
    record that cites it, so a later listing cannot miss it.
    """

    pins: dict[str, Pin] = field(default_factory=dict)
    runs: dict[str, RunPlan] = field(default_factory=dict)
    run_ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    studies: dict[str, Study] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    subsets: dict[str, Subset] = field(default_factory=dict)
    foreign: dict[str, ForeignSubset] = field(default_factory=dict)
    trained: dict[str, TrainedScorer] = field(default_factory=dict)
    snapshots: list[int] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    dead: dict[str, Dead] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    canaries: dict[str, Canary] = field(default_factory=dict)
    imports: dict[str, Imported] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    revisions: dict[str, list[Revision]] = field(default_factory=dict)
    flags: dict[str, Record] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def units(self) -> dict[str, tuple[str, Slice]]:
        """Every slice of every dataset by its unit, with the dataset's name."""
        return {
            piece.unit: (name, piece)
            for name, revisions in self.revisions.items()
            for revision in revisions
            for piece in revision.slices
        }


def read_holdings(store: Store, ledger: Ledger) -> Holdings:
    """Everything that reads; what does not is an error in the ledger, under the invariant it belongs to."""
    held = Holdings()
    held.pins = _read(store, ledger, 5, store.list("refs"), get_pin)
    studies, cells = study_keys(store)
    held.cells = _read(store, ledger, 5, cells, read_cell)
    held.studies = _read(store, ledger, 5, studies, read_study)
    for run_id in store.children("runs"):
        _read_run(store, ledger, held, run_id)
    manifests = [key for key in store.list("subsets") if key.endswith("/manifest.json")]
    held.subsets = _read(store, ledger, 5, manifests, get_manifest)
    held.foreign = _read(store, ledger, 5, foreign_keys(store), read_foreign)
    manifests = [key for key in store.list(SCORERS) if key.endswith("/manifest.json")]
    held.trained = _read(store, ledger, 5, manifests, read_manifest)
    with ledger.expecting(5, "snapshots"):
        held.snapshots = snapshot_numbers(store)
    for withdrawn in (True, False):
        listed = [key for folder in (FLAGS, TAKEDOWNS) for key in record_keys(store, folder)]
        wanted = [key for key in listed if ("/withdrawn/" in key) is withdrawn]
        held.flags |= _read(store, ledger, 5, wanted, read_record)
    held.attempts = _read(store, ledger, 1, store.list("attempts"), _attempt)
    held.dead = _read(store, ledger, 1, store.list("dead"), _dead)
    held.commits = _read(store, ledger, 1, store.list("commits"), _commit)
    held.imports = _read(store, ledger, 1, store.list("imports"), get_import)
    held.canaries = _read(store, ledger, 1, store.list(CANARIES), _canary)
    held.plans = _read(store, ledger, 1, store.list("plans"), _plan)
    names = [name for name in store.children("datasets") if store.children(f"datasets/{name}/revisions")]
    for name in names:
        with ledger.expecting(5, f"datasets/{name}"):
            held.revisions[name] = list_revisions(store, name)
    held.entries = {entry.key: entry for entry in store.entries("")}
    return held


def canonical(store: Store, ledger: Ledger, invariant: int, keys: list[str]) -> None:
    """Records that read, but are not spelled as we spell them, were written by something else."""

    def check(key: str) -> None:
        try:
            data = store.get(key)
            if canonical_json(parse_json(data, where=key)) != data:
                ledger.error(invariant, key, f"{key} is not spelled as Pairsieve spells it: somebody has edited it")
        except (PairsieveError, ValueError):
            return  # what does not read was said before

    store.each(check, keys)


def _read(
    store: Store, ledger: Ledger, invariant: int, keys: list[str], read: Callable[[Store, str], _Record]
) -> dict[str, _Record]:
    def attempt(key: str) -> _Record | PairsieveError | None:
        try:
            return read(store, key)
        except NotFoundError:
            return None  # released or collected since it was listed
        except PairsieveError as error:
            return error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return StoreError(f"{key} does not read as what it should be ({error})")

    records = {}
    for key, found in zip(keys, store.each(attempt, keys), strict=True):
        if isinstance(found, PairsieveError):
            ledger.error(invariant, key, found.message)
        elif found is not None:
            records[key] = found
    return records


def _read_run(store: Store, ledger: Ledger, held: Holdings, run_id: str) -> None:
    for end in ("done", "dead"):
        key = f"runs/{run_id}/{end}.json"
        if store.exists(key):
            with ledger.expecting(5, key):
                record = parse_json(store.get(key), where=key)
                if not isinstance(record, dict) or {"done": "result", "dead": "reason"}[end] not in record:
                    raise StoreError(f"{key} does not read as the end of a run")
                held.run_ends[key] = record
    held.checkpoints |= _read(store, ledger, 5, checkpoint_keys(store, run_id), read_checkpoint)
    plan = f"runs/{run_id}/plan.json"
    if store.exists(plan):
        held.runs |= _read(store, ledger, 5, [plan], lambda store, _: get_run(store, run_id))


def _attempt(store: Store, key: str) -> Attempt:
    found = Attempt(**parse_json(store.get(key), where=key))
    return _same(found, key, f"attempts/{found.job_id}/{found.unit}/{found.attempt}.json")


def _dead(store: Store, key: str) -> Dead:
    found = Dead(**parse_json(store.get(key), where=key))
    return _same(found, key, f"dead/{found.job_id}/{found.unit}.json")


def _plan(store: Store, key: str) -> Plan:
    found = get_plan(store, key.rpartition("/")[2].removesuffix(".json"))
    return _same(found, key, f"plans/{found.job_id}.json")


def _commit(store: Store, key: str) -> Commit:
    _, scorer_id, name = key.split("/")
    return get_commit(store, scorer_id=scorer_id, unit=name.removesuffix(".json"))


def _canary(store: Store, key: str) -> Canary:
    return get_canary(store, key.rpartition("/")[2].removesuffix(".json"))


def _same(found: _Record, key: str, wanted: str) -> _Record:
    if key != wanted:
        raise StoreError(f"{key} is the record of {wanted}")
    return found
