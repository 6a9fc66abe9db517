"""Takes slices in hand: one for a task, or all open ones of a plan in this process, without any broker."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from ranking.errors import PairsieveError
from ranking.names import scorer_name
from ranking.plan import Plan, Slice, bury, dead_slices, open_slices
from ranking.settings import Settings, load_settings
from ranking.store.blobs import Store
from ranking.store.commits import is_committed
from workers.attempts import attempt_on, bury_reason, one_line, standing
from workers.canary import check_canary
from workers.engine import Committee, SliceReport, score_slice

State = Literal["scored", "done", "dead", "in hand"]


@dataclass(frozen=True)
class Outcome:
    """What became of a slice that was taken up: scored now (with a report), done before, given up, or worked
    on elsewhere (`detail` says by whom, or why it is dead)."""

    state: State
    report: SliceReport | None = None
    detail: str = ""


@dataclass(frozen=True)
class DriveReport:
    """What `score_here` did: the slices it scored, what it failed on (one line each), and the units that
    others have in hand; `elapsed` seconds in all."""

    reports: tuple[SliceReport, ...]
    errors: tuple[str, ...]
    elsewhere: tuple[str, ...]
    elapsed: float = 0.0


class OtherScorerError(PairsieveError):
    """The scorers here are not the ones that the plan names: other weights, precision or code."""

    default_code = "other-scorer"


def score_one(
    store: Store,
    plan: Plan,
    piece: Slice,
    load: Callable[[Sequence[str]], Committee],
    progress: Callable[[int], None] | None = None,
    *,
    settings: Settings | None = None,
    device: AbstractContextManager[object] | None = None,
) -> Outcome:
    """Score a slice by every scorer of the plan that has not committed it, unless it is done, dead or in
    hand.

    `load` gives a committee for scorer ids; it is called inside the attempt, because loading may be what
    kills us. `device` is held while it scores. Raises what the engine raises; the attempt then says so.
    """
    settings = settings or load_settings()
    missing = [
        scorer_id for scorer_id in plan.scorer_ids if not is_committed(store, scorer_id=scorer_id, unit=piece.unit)
    ]
    if not missing:
        return Outcome("done")
    for dead in dead_slices(store, plan):
        if dead.unit == piece.unit:
            return Outcome("dead", detail=dead.reason)
    now = standing(store, plan, piece.unit, lease_seconds=settings.lease_seconds)
    if now.alive is not None:
        return Outcome("in hand", detail=now.alive.worker)
    if now.counted >= settings.max_attempts:
        reason = bury_reason(now.counted, now.sign.error if now.sign else "")
        bury(store, plan, piece.unit, reason=reason)
        return Outcome("dead", detail=reason)
    with attempt_on(store, plan, piece.unit, lease_seconds=settings.lease_seconds) as hand:
        committee = load(missing)
        check_scorers(committee, missing)

        def on_progress(items: int) -> None:
            hand.beat()
            if progress is not None:
                progress(items)

        report = score_slice(
            store,
            plan,
            piece,
            missing,
            committee,
            on_progress,
            attempt=hand.attempt,
            settings=settings,
            device=device,
        )
    return Outcome("scored", report)


def score_here(
    store: Store,
    plan: Plan,
    committee: Committee,
    progress: Callable[[int], None] | None = None,
    *,
    settings: Settings | None = None,
) -> DriveReport:
    """Score every open slice of a plan in this process, with the same attempts and commits as a worker makes.

    `progress` gets the number of items finished since its last call. A slice that fails does not stop the
    others. On a GPU two slices are in hand at once: while one is read or committed, the other is scored. CanaryError,
    before any slice is tried, for a scorer that gives other numbers here than elsewhere.
    """
    check_scorers(committee, plan.scorer_ids)
    pieces = [piece for piece, _ in open_slices(store, plan)]
    if pieces:
        check_canary(store, committee, plan.scorer_ids)
    started = time.monotonic()
    reports: list[SliceReport] = []
    errors: list[str] = []
    elsewhere: list[str] = []
    device, stop, counting = threading.Lock(), threading.Event(), threading.Lock()

    def count(items: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        if progress is not None:
            with counting:
                progress(items)

    def take(piece: Slice) -> None:
        if stop.is_set():
            return
        try:
            outcome = score_one(store, plan, piece, lambda _: committee, count, settings=settings, device=device)
        except Exception as error:
            errors.append(f"slice {piece.unit}: {one_line(error)}")
            return
        if outcome.report is not None:
            reports.append(outcome.report)
        elif outcome.state == "in hand":
            elsewhere.append(piece.unit)
        elif outcome.state == "dead":
            errors.append(f"slice {piece.unit} is given up: {outcome.detail}")

    if committee.device == "cpu":  # where scoring takes all processors, and Ctrl-C should not wait for a batch
        for piece in pieces:
            take(piece)
    else:
        with ThreadPoolExecutor(2, thread_name_prefix="slice") as slices:
            taken = [slices.submit(take, piece) for piece in pieces]
            try:
                for each in taken:
                    each.result()
            except BaseException:
                stop.set()
                raise
    return DriveReport(tuple(reports), tuple(errors), tuple(elsewhere), time.monotonic() - started)


def check_scorers(committee: Committee, scorer_ids: Sequence[str]) -> None:
    """OtherScorerError unless the committee has exactly these scorers, by id, among its own."""
    for scorer_id in scorer_ids:
        here = committee.scorer_ids.get(scorer_name(scorer_id))
        if here != scorer_id:
            raise OtherScorerError(
                f"the plan asks for {scorer_id}, but here is {here or 'no scorer of that name'}",
                hint="plan again with the scorers that are installed here, or install those of the plan",
            )
