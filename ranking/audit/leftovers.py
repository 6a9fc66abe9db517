"""I7 and I10: what nothing names and is old, what is in the trash by mistake, and what leaks."""

from ranking.audit.holdings import Holdings
from ranking.audit.report import Ledger
from ranking.collection import Ages, plan_collection
from ranking.collection.candidates import scratch
from ranking.errors import PairsieveError
from ranking.names import scorer_name
from ranking.store.blobs import Store
from ranking.store.shards import holds_scores
from ranking.store.trash import TRASH, original_key

_COLLECT = "`pairsieve store gc --delete` takes it"
_HINT = "remove it: a hint costs time only"


def check_leftovers(store: Store, held: Holdings, ledger: Ledger, *, now: float, named: set[str]) -> None:
    """What a collection would take, what it must give back, and hints and claims of what is gone."""
    try:
        planned = plan_collection(store, now=now, ages=Ages())
    except PairsieveError as error:
        # Which record does not read is said where it belongs.
        ledger.note(7, "store", f"what nothing names cannot be told ({error.message})", "repair that first")
    else:
        for kind, candidates in planned.by_kind().items():
            size = sum(candidate.bytes for candidate in candidates)
            what = f"{len(candidates)} {kind} ({size:,} bytes) that nothing names are old enough to go"
            ledger.note(7, candidates[0].key, what, _COLLECT)
            ledger.count(7, "left over", len(candidates))
    trashed = [entry for key, entry in held.entries.items() if key.startswith(f"{TRASH}/")]
    for entry in trashed:
        key = original_key(entry.key)
        if key in named and not store.exists(key) and store.exists(entry.key):
            todo = "run `pairsieve store gc --delete`, which brings it back"
            ledger.error(7, key, f"{key} is named, and lies in the trash as {entry.key}", todo)
    ledger.count(7, "in the trash", len(trashed))
    _check_hints(store, held, ledger)
    _count_sizes(store, held, ledger)


def _check_hints(store: Store, held: Holdings, ledger: Ledger) -> None:
    jobs = {plan.job_id for plan in held.plans.values()}
    runs = {run.run_id for run in held.runs.values()}
    for folder, known in (
        ("hints/slices", jobs),
        ("hints/published", {f"{job}.json" for job in jobs} | {"runs.json"}),
        ("hints/released", jobs | {"runs"}),
        ("hints/released/runs", runs),
        ("hints/runs", runs),
        ("hints/watch", runs),
    ):
        for name in store.children(folder):
            ledger.count(10, "hints")
            # Asked again, as a plan may be younger than our look at the plans.
            stem = name.removesuffix(".json")
            if (
                name not in known
                and not store.exists(f"plans/{stem}.json")
                and not store.exists(f"runs/{stem}/plan.json")
            ):
                ledger.note(10, f"{folder}/{name}", f"{folder}/{name} is about what is not there", _HINT)
    rooms = store.workspace / "broker" / "taken"
    ledger.count(10, "rooms of the broker", len(list(rooms.iterdir())) if rooms.is_dir() else 0)


def _count_sizes(store: Store, held: Holdings, ledger: Ledger) -> None:
    ledger.count(10, "keys", len(held.entries))
    ledger.count(10, "bytes", sum(entry.bytes for entry in held.entries.values()))
    ledger.count(10, "bytes unfinished", sum(candidate.bytes for candidate in scratch(store.workspace)))
    scorers: dict[str, set[str]] = {}
    for commit in held.commits.values():
        if not holds_scores(commit.scorer_id):
            continue
        scorers.setdefault(scorer_name(commit.scorer_id), set()).add(commit.scorer_id)
    for name, ids in sorted(scorers.items()):
        if len(ids) > 1:
            what = f"{len(ids)} versions of scorer {name} have scores; a snapshot uses the one with most rows"
            ledger.note(10, f"commits/{min(ids)}", what, "nothing need be done")
