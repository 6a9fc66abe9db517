"""I1 and I9: every planned unit is done, dead or open, and what is open can be taken up."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from ranking.audit.holdings import Holdings, canonical
from ranking.audit.report import Ledger
from ranking.errors import StoreError
from ranking.names import canonical_json, parse_json, sha256_hex
from ranking.settings import Settings
from ranking.store.blobs import Store

_AHEAD = 3600.0  # seconds by which the clocks of machines may differ without a finding
_CLOCK = "set the clock of the machine that wrote it"
_REMOVE = "remove this hint: it costs time only"


def check_work(store: Store, held: Holdings, ledger: Ledger, *, settings: Settings, now: float) -> None:
    """Look at plans, markers, attempts and deaths, and at the hints that could hold work back."""
    units = held.units
    planned = {(plan.job_id, piece.unit) for plan in held.plans.values() for piece in plan.slices}
    canonical(store, ledger, 1, [*held.commits, *held.canaries, *held.dead, *held.imports, *held.plans])
    for key, commit in held.commits.items():
        if commit.unit not in units:
            ledger.error(1, key, f"the marker {key} is of a unit that no dataset has")
        if commit.file != f"data/{commit.scorer_id}/{commit.unit}/{commit.sha256}.parquet":
            ledger.error(1, key, f"the marker {key} names {commit.file}, which is not a file of its unit")
        _check_time(ledger, 1, key, commit.created)
    for key, dead in held.dead.items():
        if (dead.job_id, dead.unit) not in planned:
            ledger.error(1, key, f"{key} buries a unit that no plan has")
        if not dead.reason.strip():
            ledger.error(1, key, f"{key} buries a unit without a reason")
    for key, attempt in held.attempts.items():
        if (attempt.job_id, attempt.unit) not in planned:
            ledger.error(1, key, f"{key} is a try at a unit that no plan has")
    for key, canary in held.canaries.items():
        _check_time(ledger, 1, key, canary.created)
    ledger.count(1, "markers", len(held.commits))
    ledger.count(1, "canaries", len(held.canaries))
    ledger.count(1, "attempts", len(held.attempts))
    _check_plans(held, ledger)
    _check_open(store, held, ledger, settings=settings, now=now)


def _check_plans(held: Holdings, ledger: Ledger) -> None:
    committed = {(commit.scorer_id, commit.unit) for commit in held.commits.values()}
    for key, plan in held.plans.items():
        identity = [plan.dataset, plan.revision_sha, list(plan.scorer_ids)]
        if sha256_hex(canonical_json(identity))[:16] != plan.job_id:
            ledger.error(1, key, f"the plan {key} does not have the id that follows from it")
        revisions = held.revisions.get(plan.dataset, [])[: plan.revision]
        if len(revisions) != plan.revision or revisions[-1].sha != plan.revision_sha:
            ledger.error(1, key, f"the plan {key} is for a revision of {plan.dataset} that is not there")
        elif plan.slices != tuple(piece for revision in revisions for piece in revision.slices):
            ledger.error(1, key, f"the plan {key} has other slices than its dataset")
        dead = {each.unit for each in held.dead.values() if each.job_id == plan.job_id}
        for piece in plan.slices:
            for scorer_id in plan.scorer_ids:
                done = (scorer_id, piece.unit) in committed
                ledger.count(1, "units done" if done else "units dead" if piece.unit in dead else "units open")


def _check_open(store: Store, held: Holdings, ledger: Ledger, *, settings: Settings, now: float) -> None:
    committed: dict[str, set[str]] = defaultdict(set)
    for commit in held.commits.values():
        committed[commit.unit].add(commit.scorer_id)
    dead = {(each.job_id, each.unit) for each in held.dead.values()}
    tries: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for attempt in held.attempts.values():
        tries[attempt.job_id, attempt.unit].append((attempt.created, attempt.attempt))
    for plan in held.plans.values():
        published = _hint(store, f"hints/published/{plan.job_id}.json")
        for piece in plan.slices:
            spot = (plan.job_id, piece.unit)
            if spot in dead or set(plan.scorer_ids) <= committed[piece.unit]:
                continue
            ledger.count(9, "open slices")
            _check_times(ledger, f"hints/published/{plan.job_id}.json", published.get(piece.unit), now)
            _check_slice(store, ledger, spot, sorted(tries[spot]), settings=settings, now=now)
    _check_runs(store, held, ledger, now=now)


def _check_slice(
    store: Store, ledger: Ledger, spot: tuple[str, str], tries: list[tuple[str, str]], *, settings: Settings, now: float
) -> None:
    if not tries:
        return
    sign_key = f"hints/slices/{spot[0]}/{spot[1]}.json"
    sign = _hint(store, sign_key)
    at = sign.get("at") if sign.get("attempt") == tries[-1][1] else None
    _check_times(ledger, sign_key, at, now)
    key = f"attempts/{spot[0]}/{spot[1]}/{tries[-1][1]}.json"
    begun = _check_time(ledger, 1, key, tries[-1][0])
    if begun is None:
        return
    if begun > now + _AHEAD:
        ledger.error(
            9,
            key,
            f"{key} is {begun - now:.0f} s in the future, so its unit counts as in hand till then",
            _CLOCK,
        )
    released = {name.rpartition("/")[2] for name in store.list(f"hints/released/{spot[0]}/{spot[1]}")}
    counted = sum(attempt not in released for _, attempt in tries)
    quiet = now - max(begun, at or 0.0)
    if counted >= settings.max_attempts and quiet > settings.lease_seconds + settings.reconcile_seconds:
        # Whoever reconciles next gives it up; that nobody has is no damage, but nobody works on it either.
        ledger.note(
            9,
            f"attempts/{spot[0]}/{spot[1]}",
            f"unit {spot[1]} has used up {counted} tries and is not given up yet",
            "start a worker or `pairsieve up`, whose reconciler does so",
        )


def _check_runs(store: Store, held: Holdings, ledger: Ledger, *, now: float) -> None:
    published = _hint(store, "hints/published/runs.json")
    for key, run in held.runs.items():
        folder = key.rpartition("/")[0]
        if f"{folder}/done.json" in held.entries or f"{folder}/dead.json" in held.entries:
            continue
        ledger.count(9, "open runs")
        _check_times(ledger, "hints/published/runs.json", published.get(run.run_id), now)
        beat = store.get_hint(f"hints/runs/{run.run_id}")
        _check_times(ledger, f"hints/runs/{run.run_id}", _number(beat), now)


def _check_times(ledger: Ledger, key: str, at: object, now: float) -> None:
    if isinstance(at, int | float) and at > now + _AHEAD:
        ledger.error(9, key, f"{key} is {at - now:.0f} s in the future, and holds its work back till then", _REMOVE)


def _check_time(ledger: Ledger, invariant: int, key: str, text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        ledger.error(invariant, key, f"{key} has {text!r} for a time")
        return None


def _hint(store: Store, key: str) -> dict[str, Any]:
    """A hint that is a JSON object; an empty one if it is lost or torn, as hints may be."""
    data = store.get_hint(key)
    try:
        found = parse_json(data, where=key) if data is not None else {}
    except StoreError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(data: bytes | None) -> float | None:
    try:
        return float(data) if data is not None else None
    except ValueError:
        return None
