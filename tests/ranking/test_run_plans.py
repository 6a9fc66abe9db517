"""Training runs and schedules as records: planned once, finished once, removed without losing history."""

import time
from pathlib import Path

import pytest
from pickapic_factory import rows, write
from scored import score_all

from ranking import runs, schedules
from ranking.errors import NotFoundError, UnknownNameError, UsageError
from ranking.ingest import ingest
from ranking.schedules import Schedule
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset


@pytest.fixture
def subset(store: Store, tmp_path: Path) -> Subset:
    ingest(store, write(tmp_path / "pairs.parquet", rows(6)), "pets")
    snapshot = score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8})
    recipe = {"name": "best", "dataset": "pets", "metric": {"name": "random"}, "take": {"percent": 50}}
    return create_subset(store, parse_recipe(recipe), snapshot)


def test_a_run_pins_its_subset_and_is_planned_once(store: Store, subset: Subset) -> None:
    run = runs.plan_run(store, "best@latest", {"steps": 10, "lr": 1e-4})
    assert run.subset == subset.ref
    assert runs.plan_run(store, subset.ref, {"lr": 0.0001, "steps": 10}) == run
    other = runs.plan_run(store, subset.ref, {"steps": 11, "lr": 1e-4})
    assert other.run_id != run.run_id
    assert runs.list_runs(store) == [run, other]
    assert runs.get_run(store, run.run_id) == run


def test_a_run_is_planned_then_running_then_done(store: Store, subset: Subset) -> None:
    run_id = runs.plan_run(store, subset.ref, {}).run_id
    assert runs.run_state(store, run_id) == "planned"
    attempt = runs.record_run_attempt(store, run_id, worker="gpu-0")
    assert [found.attempt for found in runs.run_attempts(store, run_id)] == [attempt]
    assert runs.run_state(store, run_id) == "running"
    assert [run.run_id for run in runs.open_runs(store)] == [run_id]
    assert runs.finish_run(store, run_id, {"loss": 0.69})
    assert not runs.finish_run(store, run_id, {"loss": 0.0})
    assert runs.run_state(store, run_id) == "done"
    assert runs.run_result(store, run_id) == {"loss": 0.69}
    assert runs.open_runs(store) == []


def test_a_run_without_a_sign_of_life_is_planned_again(
    store: Store, subset: Subset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.plan_run(store, subset.ref, {}).run_id
    runs.record_run_attempt(store, run_id, worker="gpu-0")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 500)
    runs.beat_run(store, run_id)
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    assert runs.run_state(store, run_id, lease_seconds=600) == "running", "the last beat is 500 s ago"
    assert runs.run_state(store, run_id, lease_seconds=400) == "planned"


def test_a_buried_run_is_dead_with_its_reason_unless_it_was_finished(store: Store, subset: Subset) -> None:
    run_id = runs.plan_run(store, subset.ref, {}).run_id
    assert runs.run_death(store, run_id) is None
    assert runs.bury_run(store, run_id, reason="out of memory")
    assert not runs.bury_run(store, run_id, reason="again")
    assert (runs.run_state(store, run_id), runs.run_death(store, run_id)) == ("dead", "out of memory")
    runs.finish_run(store, run_id, {})
    assert runs.run_state(store, run_id) == "done"


def test_checkpoints_beside_a_plan_are_not_runs(store: Store, subset: Subset) -> None:
    run_id = runs.plan_run(store, subset.ref, {}).run_id
    store.put_if_absent(f"runs/{run_id}/checkpoints/plan.json", b"{}")
    assert [run.run_id for run in runs.list_runs(store)] == [run_id]


@pytest.mark.usefixtures("subset")
def test_what_cannot_be_planned_or_found_is_said_so(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="did you mean best"):
        runs.plan_run(store, "bestt", {})
    with pytest.raises(UsageError, match="plain JSON"):
        runs.plan_run(store, "best", {"lr": float("nan")})
    with pytest.raises(UsageError, match="plain JSON"):
        runs.plan_run(store, "best", {"path": Path("x")})
    with pytest.raises(NotFoundError):
        runs.get_run(store, "0" * 16)
    with pytest.raises(NotFoundError):
        runs.finish_run(store, "0" * 16, {})
    with pytest.raises(NotFoundError, match="not done"):
        runs.run_result(store, runs.plan_run(store, "best", {}).run_id)


NIGHTLY = Schedule("nightly", 86_400, "pets", "incoming", ("sharp",), {"name": "best"}, {"steps": 10})


def test_a_schedule_can_be_added_replaced_and_removed(store: Store) -> None:
    assert schedules.list_schedules(store) == []
    assert schedules.add_schedule(store, NIGHTLY) == NIGHTLY
    schedules.add_schedule(store, NIGHTLY)
    assert len(store.list("schedules/nightly")) == 1, "the same again changes nothing"
    hourly = Schedule("nightly", 3600, "pets", None, ("sharp", "flat"), None, None)
    assert schedules.add_schedule(store, hourly) == hourly
    assert schedules.list_schedules(store) == [hourly]
    schedules.remove_schedule(store, "nightly")
    assert schedules.list_schedules(store) == []
    assert len(store.list("schedules/nightly")) == 3, "its history stays"
    schedules.add_schedule(store, NIGHTLY)
    assert schedules.get_schedule(store, "nightly") == NIGHTLY


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule("Nightly", 60, "pets", None, ("sharp",), None, None),
        Schedule("nightly", 0, "pets", None, ("sharp",), None, None),
        Schedule("nightly", float("nan"), "pets", None, ("sharp",), None, None),
        Schedule("nightly", 60, "../pets", None, ("sharp",), None, None),
        Schedule("nightly", 60, "pets", None, ("sharp; rm",), None, None),
        Schedule("nightly", 60, "pets", None, ("sharp",), None, {"steps": 1}),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(store: Store, schedule: Schedule) -> None:
    with pytest.raises(UsageError):
        schedules.add_schedule(store, schedule)
    assert schedules.list_schedules(store) == []


def test_a_schedule_that_does_not_exist_is_said_so(store: Store) -> None:
    schedules.add_schedule(store, NIGHTLY)
    for act in (schedules.get_schedule, schedules.remove_schedule):
        with pytest.raises(UnknownNameError, match="did you mean nightly"):
            act(store, "nightli")
