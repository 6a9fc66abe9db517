"""Training runs as plans and markers: what is to be trained, and how far it is. Not the training itself."""

import time
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from ranking.errors import NotFoundError, UsageError
from ranking.names import canonical_json, check_id, parse_json, sha256_hex, utc_now
from ranking.store.blobs import Store
from ranking.subsets.foreign import find_subset

RunState = Literal["planned", "running", "done", "dead"]
ASIDE = b"aside"
"""In an attempt's `released_key`: it was told to stop and put the run aside, so nobody trains it now."""


@dataclass(frozen=True)
class RunPlan:
    """One training: `config` on the subset `subset` (always name@version). `run_id` is the hash of both."""

    run_id: str
    subset: str
    config: dict[str, Any]
    created: str


@dataclass(frozen=True)
class RunAttempt:
    """Somebody began to train. Written before the work, so that a kill is counted too."""

    attempt: str
    run_id: str
    worker: str
    created: str


def plan_run(store: Store, subset_ref: str, config: dict[str, Any]) -> RunPlan:
    """The run that trains with `config` on a subset of this store, or one that was fetched; made now unless it exists.
    `config` must be JSON without NaN."""
    subset = find_subset(store, subset_ref).ref
    run_id = run_id_of(subset, config)
    plan = RunPlan(run_id, subset, config, utc_now())
    store.put_if_absent(run_key(run_id, "plan"), canonical_json(asdict(plan)))
    return get_run(store, run_id)


def run_id_of(subset: str, config: dict[str, Any]) -> str:
    """The id of the run that trains with `config` on the subset `subset` (name@version), planned or not."""
    try:
        return sha256_hex(canonical_json([subset, config]))[:16]
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the training config is not plain JSON ({error})", hint="use numbers, text, lists, maps"
        ) from error


def get_run(store: Store, run_id: str) -> RunPlan:
    """The run with this id; NotFoundError if there is none."""
    key = run_key(run_id, "plan")
    if not store.exists(key):
        raise NotFoundError(f"there is no run {run_id}", hint="`pairsieve runs` lists them")
    return RunPlan(**parse_json(store.get(key), where=key))


def is_planned(store: Store, run_id: str) -> bool:
    """Whether there is a run with this id."""
    return store.exists(run_key(run_id, "plan"))


def list_runs(store: Store) -> list[RunPlan]:
    """Every planned run, oldest first, whatever became of it."""
    # Not store.list: checkpoints and samples beside the plans may be many.
    ids = [run_id for run_id in store.children("runs") if store.exists(run_key(run_id, "plan"))]
    return sorted((get_run(store, run_id) for run_id in ids), key=lambda run: (run.created, run.run_id))


def open_runs(store: Store) -> list[RunPlan]:
    """Runs that are neither done nor dead, oldest first; some of them may be running now."""
    return [run for run in list_runs(store) if run_state(store, run.run_id) in ("planned", "running")]


def run_state(store: Store, run_id: str, *, lease_seconds: float = 600) -> RunState:
    """planned (also: put aside), running (a sign of life within `lease_seconds`), done or dead. Done wins over
    dead."""
    get_run(store, run_id)
    if store.exists(run_key(run_id, "done")):
        return "done"
    if store.exists(run_key(run_id, "dead")):
        return "dead"
    tried = run_attempts(store, run_id)
    if tried and store.get_hint(released_key(run_id, tried[-1].attempt)) == ASIDE:
        return "planned"
    signs = [datetime.fromisoformat(attempt.created).timestamp() for attempt in tried]
    beat = store.get_hint(_heartbeat(run_id))
    if signs and beat is not None:
        signs.append(float(beat))
    return "running" if signs and time.time() - max(signs) < lease_seconds else "planned"


def record_run_attempt(store: Store, run_id: str, *, worker: str) -> str:
    """Note that `worker` begins to train; returns the attempt's id."""
    attempt = RunAttempt(uuid.uuid4().hex, get_run(store, run_id).run_id, worker, utc_now())
    store.put_if_absent(f"runs/{run_id}/attempts/{attempt.attempt}.json", canonical_json(asdict(attempt)))
    return attempt.attempt


def run_attempts(store: Store, run_id: str) -> list[RunAttempt]:
    """The attempts on a run, oldest first."""
    keys = store.list(f"runs/{check_id('run', run_id)}/attempts")
    found = [RunAttempt(**parse_json(store.get(key), where=key)) for key in keys]
    return sorted(found, key=lambda attempt: (attempt.created, attempt.attempt))


def beat_run(store: Store, run_id: str) -> None:
    """Say that the run is alive now. A hint: losing it may start the run a second time, never harm it."""
    store.put_hint(_heartbeat(check_id("run", run_id)), str(time.time()).encode())


def finish_run(store: Store, run_id: str, result: dict[str, Any]) -> bool:
    """Mark a run as done with its `result` (plain JSON). False if it was done before, whose result then
    stays."""
    get_run(store, run_id)
    return store.put_if_absent(run_key(run_id, "done"), canonical_json({"result": result, "created": utc_now()}))


def run_result(store: Store, run_id: str) -> dict[str, Any]:
    """What a done run was finished with; NotFoundError if it is not done."""
    key = run_key(run_id, "done")
    if not store.exists(key):
        raise NotFoundError(f"run {run_id} is not done")
    result: dict[str, Any] = parse_json(store.get(key), where=key)["result"]
    return result


def bury_run(store: Store, run_id: str, *, reason: str) -> bool:
    """Give a run up. False if it was buried before."""
    get_run(store, run_id)
    return store.put_if_absent(run_key(run_id, "dead"), canonical_json({"reason": reason, "created": utc_now()}))


def run_death(store: Store, run_id: str) -> str | None:
    """Why a run was given up, or None if it was not."""
    key = run_key(run_id, "dead")
    if not store.exists(key):
        return None
    reason: str = parse_json(store.get(key), where=key)["reason"]
    return reason


def run_key(run_id: str, marker: Literal["plan", "done", "dead"]) -> str:
    """The store key of a run's plan or end marker."""
    return f"runs/{check_id('run', run_id)}/{marker}.json"


def released_key(run_id: str, attempt: str) -> str:
    """The hint that an attempt at a run ended for reasons outside the run."""
    return f"hints/released/runs/{run_id}/{attempt}"


def _heartbeat(run_id: str) -> str:
    return f"hints/runs/{run_id}"
