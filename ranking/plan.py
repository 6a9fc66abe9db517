"""Scoring jobs: which slices by which scorers, what of that is open, done or dead. Knows nothing of queues or
models."""

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from ranking.datasets import Slice, get_dataset
from ranking.errors import NotFoundError, UsageError
from ranking.names import canonical_json, check_id, check_scorer_id, parse_json, sha256_hex, utc_now
from ranking.store.blobs import Store
from ranking.store.commits import committed_units
from ranking.store.parquet import read_rows

__all__ = [
    "Attempt",
    "Dead",
    "Plan",
    "PlanProgress",
    "Slice",
    "attempts",
    "bury",
    "create_plan",
    "dead_slices",
    "find_slice",
    "get_plan",
    "list_plans",
    "open_slices",
    "progress",
    "read_items",
    "record_attempt",
]


@dataclass(frozen=True)
class Plan:
    """A scoring job: every slice of a dataset's revision by every one of `scorer_ids`."""

    job_id: str
    dataset: str
    revision: int
    revision_sha: str
    scorer_ids: tuple[str, ...]
    slices: tuple[Slice, ...]
    created: str


@dataclass(frozen=True)
class PlanProgress:
    """How far a job is. A unit is one slice by one scorer; items are counted once for each scorer.

    `units_dead` are units without a marker whose slice is buried, so done + dead + open = total.
    """

    units_total: int
    units_done: int
    units_dead: int
    items_total: int
    items_done: int

    @property
    def units_open(self) -> int:
        """Units that still have to be scored."""
        return self.units_total - self.units_done - self.units_dead


@dataclass(frozen=True)
class Attempt:
    """Somebody began to work on a slice. Written before the work, so that a kill is counted too."""

    attempt: str
    job_id: str
    unit: str
    worker: str
    created: str


@dataclass(frozen=True)
class Dead:
    """A slice that is given up, and why."""

    job_id: str
    unit: str
    reason: str
    created: str


def create_plan(store: Store, dataset: str, scorer_ids: Iterable[str]) -> Plan:
    """The plan that scores the newest revision of `dataset` by `scorer_ids`; made now unless it exists
    already."""
    ids = sorted({check_scorer_id(scorer_id) for scorer_id in scorer_ids})
    if not ids:
        raise UsageError("a scoring job needs at least one scorer", hint="name some; `pairsieve scorers` lists them")
    found = get_dataset(store, dataset)
    job_id = sha256_hex(canonical_json([dataset, found.revision_sha, ids]))[:16]
    plan = Plan(job_id, dataset, found.revision, found.revision_sha, tuple(ids), found.slices, utc_now())
    store.put_if_absent(_key(job_id), canonical_json(asdict(plan)))
    return get_plan(store, job_id)


def get_plan(store: Store, job_id: str) -> Plan:
    """The plan with this id; NotFoundError if there is none."""
    key = _key(check_id("job", job_id))
    if not store.exists(key):
        raise NotFoundError(f"there is no job {job_id}", hint="`pairsieve jobs` lists them")
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    slices = tuple(Slice(**piece) for piece in record["slices"])
    return Plan(**record | {"scorer_ids": tuple(record["scorer_ids"]), "slices": slices})


def list_plans(store: Store) -> list[Plan]:
    """Every plan, oldest first."""
    plans = [get_plan(store, _stem(key)) for key in store.list("plans")]
    return sorted(plans, key=lambda plan: (plan.created, plan.job_id))


def find_slice(plan: Plan, unit: str) -> Slice:
    """The slice of the plan with this unit; NotFoundError if it has none."""
    for piece in plan.slices:
        if piece.unit == unit:
            return piece
    raise NotFoundError(f"job {plan.job_id} has no unit {unit}")


def open_slices(store: Store, plan: Plan) -> list[tuple[Slice, list[str]]]:
    """What is left to do: each slice that is not buried, with the scorer ids that have not committed it."""
    done = {scorer_id: committed_units(store, scorer_id) for scorer_id in plan.scorer_ids}
    dead = _dead_units(store, plan)
    missing = (
        (piece, [scorer_id for scorer_id in plan.scorer_ids if piece.unit not in done[scorer_id]])
        for piece in plan.slices
        if piece.unit not in dead
    )
    return [(piece, scorer_ids) for piece, scorer_ids in missing if scorer_ids]


def progress(store: Store, plan: Plan) -> PlanProgress:
    """How far the job is, from the markers' names alone."""
    dead = _dead_units(store, plan)
    units_done = units_dead = items_done = 0
    for scorer_id in plan.scorer_ids:
        done = committed_units(store, scorer_id)
        units_done += sum(piece.unit in done for piece in plan.slices)
        units_dead += sum(piece.unit in dead and piece.unit not in done for piece in plan.slices)
        items_done += sum(piece.rows for piece in plan.slices if piece.unit in done)
    return PlanProgress(
        units_total=len(plan.slices) * len(plan.scorer_ids),
        units_done=units_done,
        units_dead=units_dead,
        items_total=sum(piece.rows for piece in plan.slices) * len(plan.scorer_ids),
        items_done=items_done,
    )


def read_items(store: Store, plan: Plan, piece: Slice) -> pa.Table:
    """The items of one slice (ITEMS schema), read by row range with page checksums verified."""
    if piece not in plan.slices:
        raise NotFoundError(f"job {plan.job_id} has no unit {piece.unit}")
    return read_rows(store.local(piece.file), start=piece.start, rows=piece.rows)


def record_attempt(store: Store, plan: Plan, unit: str, *, worker: str) -> str:
    """Note that `worker` begins to work on a slice; returns the attempt's id, which commits carry."""
    attempt = Attempt(uuid.uuid4().hex, plan.job_id, find_slice(plan, unit).unit, worker, utc_now())
    store.put_if_absent(f"attempts/{plan.job_id}/{unit}/{attempt.attempt}.json", canonical_json(asdict(attempt)))
    return attempt.attempt


def attempts(store: Store, plan: Plan, unit: str) -> list[Attempt]:
    """The attempts on a slice, oldest first."""
    keys = store.list(f"attempts/{plan.job_id}/{find_slice(plan, unit).unit}")
    found = [Attempt(**parse_json(store.get(key), where=key)) for key in keys]
    return sorted(found, key=lambda attempt: (attempt.created, attempt.attempt))


def bury(store: Store, plan: Plan, unit: str, *, reason: str) -> bool:
    """Give a slice up: it is no longer open, whatever scorers it lacks. False if it was buried before."""
    dead = Dead(plan.job_id, find_slice(plan, unit).unit, reason, utc_now())
    return store.put_if_absent(f"dead/{plan.job_id}/{unit}.json", canonical_json(asdict(dead)))


def dead_slices(store: Store, plan: Plan) -> list[Dead]:
    """The buried slices of a job with their reasons, by unit."""
    return [Dead(**parse_json(store.get(key), where=key)) for key in store.list(f"dead/{plan.job_id}")]


def _dead_units(store: Store, plan: Plan) -> set[str]:
    return {_stem(key) for key in store.list(f"dead/{plan.job_id}")}


def _key(job_id: str) -> str:
    return f"plans/{job_id}.json"


def _stem(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
