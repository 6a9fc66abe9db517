"""Schedules: ticks that are neither lost nor repeated, and what a tick does until nothing is left."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_committee import GREENER, REDDER, FakeCommittee
from fake_sender import FakeSender
from pickapic_factory import rows, write

from ranking.plan import bury, create_plan, list_plans, open_slices
from ranking.runs import list_runs
from ranking.schedules import Schedule, add_schedule, remove_schedule
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.snapshots import list_snapshots
from ranking.subsets.catalog import list_subsets
from workers.drive import score_here
from workers.schedule import TickState, advance_schedules, begin_tick, due_at, open_ticks, tick_state
from workers.scorers.base import Batch

DAY = 86_400.0
RECIPE: dict[str, Any] = {
    "name": "best",
    "dataset": "pets",
    "metric": {"name": "margin", "scorer": "redder"},
    "take": {"percent": 50.0},
}


def daily(tmp_path: Path, **changes: Any) -> Schedule:
    return replace(
        Schedule("nightly", DAY, "pets", str(tmp_path / "source"), ("redder", "greener"), RECIPE, {"steps": 1}),
        **changes,
    )


def bring(tmp_path: Path, part: int) -> None:
    write(tmp_path / f"source/part-{part}.parquet", rows(9, first=9 * part))


def resolve(names: list[str]) -> dict[str, str]:
    return {name: {"redder": REDDER, "greener": GREENER}[name] for name in names}


def advance(store: Store, sender: FakeSender, **changes: Any) -> TickState:
    (state,) = advance_schedules(store, sender, resolve, settings=Settings(store=store.uri, **changes))
    return state


def finish(store: Store, sender: FakeSender) -> TickState:
    """Advance, do the scoring that this asks for, advance again."""
    assert advance(store, sender).state == "scoring"
    score_here(store, list_plans(store)[-1], FakeCommittee())
    return advance(store, sender)


def tick(store: Store, schedule: Schedule, *, speed: float = 1.0) -> bool:
    return begin_tick(store, schedule, clock_speed=speed)


def test_the_first_tick_comes_at_once_and_the_next_a_period_after_it_is_finished(store: Store, tmp_path: Path) -> None:
    schedule = add_schedule(store, daily(tmp_path))
    assert due_at(store, schedule, clock_speed=1.0) == 0.0
    before = time.time()
    assert tick(store, schedule)
    assert due_at(store, schedule, clock_speed=1.0) is None  # it is not finished
    assert not tick(store, schedule)
    store.put_if_absent("ticks/nightly/0000000001/done.json", b'{"detail":"done"}')
    due = due_at(store, schedule, clock_speed=1.0)
    assert due is not None and before + DAY <= due <= time.time() + DAY
    assert not tick(store, schedule)


def test_a_day_passes_in_a_fraction_of_a_second_on_a_fast_clock(store: Store, tmp_path: Path) -> None:
    schedule = add_schedule(store, daily(tmp_path))
    for number in range(1, 4):
        while not tick(store, schedule, speed=DAY / 0.05):
            time.sleep(0.01)
        store.put_if_absent(f"ticks/nightly/{number:010d}/done.json", b'{"detail":"done"}')
    times = [tick_time(store, number) for number in (1, 2, 3)]
    periods = [(later - times[0]) / 0.05 for later in times[1:]]
    assert all(period == pytest.approx(round(period), abs=1e-3) and period > 0.5 for period in periods)


def tick_time(store: Store, number: int) -> float:
    return float(json.loads(store.get(f"ticks/nightly/{number:010d}/due.json"))["at"])


def test_ticks_that_nobody_was_there_for_become_one(store: Store, tmp_path: Path) -> None:
    schedule = add_schedule(store, daily(tmp_path))
    tick(store, schedule)
    store.put_if_absent("ticks/nightly/0000000001/done.json", b'{"detail":"done"}')
    time.sleep(0.3)
    fast = DAY / 0.1  # two periods and more have gone by
    assert tick(store, schedule, speed=fast)
    periods = (tick_time(store, 2) - tick_time(store, 1)) / 0.1
    assert periods == pytest.approx(round(periods), abs=1e-3) and round(periods) >= 2
    assert tick_time(store, 2) <= time.time()


def test_of_two_clocks_one_begins_the_tick(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = add_schedule(store, daily(tmp_path))
    real = store.put_if_absent

    def other_was_quicker(key: str, data: bytes) -> bool:
        assert real(key, b'{"at":1.0}')
        return real(key, data)

    monkeypatch.setattr(store, "put_if_absent", other_was_quicker)
    assert not tick(store, schedule)
    assert tick_time(store, 1) == 1.0


def test_a_tick_ingests_scores_cuts_and_trains_once_and_again_only_when_pairs_changed(
    store: Store, tmp_path: Path
) -> None:
    schedule, sender = add_schedule(store, daily(tmp_path)), FakeSender(store)
    bring(tmp_path, 0)
    tick(store, schedule)
    assert finish(store, sender).state == "done"
    (first,) = list_runs(store)
    assert sender.run_ids == [first.run_id] and first.subset == list_subsets(store)[-1].ref
    assert open_ticks(store) == [] and advance_schedules(store, sender, resolve) == []

    fast = DAY / 0.01
    time.sleep(0.02)
    assert tick(store, schedule, speed=fast)
    state = advance(store, sender)
    assert (state.number, state.state) == (
        2,
        "done",
    ) and f"unchanged since run {first.run_id}" in state.detail
    assert (len(list_plans(store)), len(list_snapshots(store)), len(list_subsets(store))) == (1, 1, 1)
    assert sender.run_ids == [first.run_id]

    bring(tmp_path, 1)
    time.sleep(0.02)
    assert tick(store, schedule, speed=fast)
    assert finish(store, sender).state == "done"
    assert [run.run_id for run in list_runs(store)] == sender.run_ids and len(sender.run_ids) == 2
    assert len(list_subsets(store)) == 2


class OtherWeights(FakeCommittee):
    """A scorer whose numbers are greener's, whatever it is called."""

    def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
        return dict.fromkeys(scorer_ids, super().score(batch, (GREENER,))[GREENER])


def test_a_new_version_with_the_same_pairs_is_not_trained_again(store: Store, tmp_path: Path) -> None:
    schedule, sender = add_schedule(store, daily(tmp_path)), FakeSender(store)
    bring(tmp_path, 0)
    tick(store, schedule)
    finish(store, sender)
    # Something else in the store gets scores, so the snapshot and with it the version is another.
    other = "redder@00000000ffff"
    score_here(store, create_plan(store, "pets", [other]), OtherWeights((other,)))
    time.sleep(0.02)
    assert tick(store, schedule, speed=DAY / 0.01)
    assert advance(store, sender).state == "done"
    assert len(list_subsets(store)) == 2 and len(list_runs(store)) == 1


def test_every_step_may_be_cut_off_and_repeated(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, sender = add_schedule(store, daily(tmp_path)), FakeSender(store)
    bring(tmp_path, 0)
    tick(store, schedule)
    real, count = store.put_if_absent, 0
    cuts = {1, 2, 4, 7, 11, 16, 22, 29}  # ever further apart, so that in the end it gets through

    class CutOffError(BaseException):
        pass

    def cut_off(key: str, data: bytes) -> bool:
        nonlocal count
        count += 1
        if count in cuts:
            raise CutOffError
        return real(key, data)

    monkeypatch.setattr(store, "put_if_absent", cut_off)
    for _ in range(60):
        try:
            if (state := tick_state(store, "nightly")) is not None and state.state == "done":
                break
            if state is not None and state.state == "scoring" and open_slices(store, list_plans(store)[-1]):
                monkeypatch.setattr(store, "put_if_absent", real)
                score_here(store, list_plans(store)[-1], FakeCommittee())
                monkeypatch.setattr(store, "put_if_absent", cut_off)
            advance(store, sender)
        except CutOffError:
            pass
    assert tick_state(store, "nightly").state == "done"  # type: ignore[union-attr]
    assert count > 11
    assert (len(list_plans(store)), len(list_snapshots(store)), len(list_runs(store))) == (1, 1, 1)


def test_a_tick_that_fails_says_why_does_not_block_others_and_ends(store: Store, tmp_path: Path) -> None:
    bad = add_schedule(store, daily(tmp_path, name="bad", source=str(tmp_path / "nowhere")))
    good = add_schedule(store, daily(tmp_path, recipe=None, train=None))
    bring(tmp_path, 0)
    sender = FakeSender(store)
    tick(store, bad), tick(store, good)
    for expected in ("due", "due", "failed"):
        states = {state.schedule: state for state in advance_schedules(store, sender, resolve)}
        assert states["bad"].state == expected and "nowhere does not exist" in states["bad"].detail
        assert states["nightly"].state == "scoring"
    assert open_ticks(store) == ["nightly"]
    store.put_hint("hints/ticks/nightly.json", b"{torn")
    score_here(store, list_plans(store)[-1], FakeCommittee())
    assert advance(store, sender).state == "done"
    time.sleep(0.02)
    assert tick(store, bad, speed=DAY / 0.01)  # the next one begins afresh
    assert tick_state(store, "bad").detail == ""  # type: ignore[union-attr]


def test_slices_that_are_given_up_do_not_hold_the_subset_back_for_ever(store: Store, tmp_path: Path) -> None:
    schedule, sender = add_schedule(store, daily(tmp_path, train=None)), FakeSender(store)
    bring(tmp_path, 0), bring(tmp_path, 1)
    tick(store, schedule)
    advance(store, sender)
    (plan,) = list_plans(store)
    bury(store, plan, plan.slices[0].unit, reason="cursed")
    score_here(store, plan, FakeCommittee())
    state = advance(store, sender)
    assert state.state == "done" and state.detail.startswith("1 slices could not be scored; best@")


def test_a_removed_schedule_is_left_alone(store: Store, tmp_path: Path) -> None:
    schedule = add_schedule(store, daily(tmp_path))
    tick(store, schedule)
    remove_schedule(store, "nightly")
    assert open_ticks(store) == [] and advance_schedules(store, FakeSender(store), resolve) == []
