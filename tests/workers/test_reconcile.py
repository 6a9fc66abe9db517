"""The reconciler: everything open is published, and nothing twice without a reason."""

import time

import pytest
from fake_committee import GREENER, REDDER, FakeCommittee
from fake_sender import FakeSender

from ranking.datasets import Dataset
from ranking.names import canonical_json
from ranking.plan import Plan, create_plan, dead_slices, open_slices, record_attempt
from ranking.runs import beat_run, finish_run, plan_run, record_run_attempt, run_death, run_state
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from workers import reconcile as module
from workers.attempts import attempt_on, release_run, run_in_hand
from workers.drive import score_here, score_one
from workers.due import publish_times
from workers.identity import worker_name
from workers.reconcile import reconcile


@pytest.fixture(autouse=True)
def _forget() -> None:
    module._finished.clear()


@pytest.fixture
def plan(store: Store, dataset: Dataset) -> Plan:
    return create_plan(store, dataset.name, (REDDER, GREENER))


def look(store: Store, sender: FakeSender, **changes: float) -> list[str]:
    """The units that one look publishes."""
    sender.units = []
    reconcile(store, sender, settings=Settings(store=store.uri, **changes))  # type: ignore[arg-type]
    return sender.units


def age_hints(store: Store, plan: Plan, seconds: float) -> None:
    """As if everything had been published that much earlier."""
    times = {unit: at - seconds for unit, at in publish_times(store, plan.job_id).items()}
    store.put_hint(f"hints/published/{plan.job_id}.json", canonical_json(times))


def test_every_open_slice_is_published_once(store: Store, plan: Plan) -> None:
    sender = FakeSender(store)
    assert look(store, sender) == [piece.unit for piece in plan.slices]
    for _ in range(3):
        assert look(store, sender) == []


def test_what_waits_in_the_queue_is_not_published_again_however_long_it_takes(store: Store, plan: Plan) -> None:
    sender = FakeSender(store, waiting=4)
    look(store, sender)
    age_hints(store, plan, 1e6)
    assert look(store, sender) == []
    sender.waiting = None  # a broker that does not say
    assert look(store, sender) == []


def test_a_lost_message_is_published_again_when_the_queue_is_empty_and_a_lease_has_passed(
    store: Store, plan: Plan
) -> None:
    sender = FakeSender(store, waiting=0)
    look(store, sender)
    age_hints(store, plan, 30)
    assert look(store, sender, lease_seconds=60) == []
    age_hints(store, plan, 31)
    assert look(store, sender, lease_seconds=60) == [piece.unit for piece in plan.slices]


def test_losing_its_memory_only_makes_it_publish_again(store: Store, plan: Plan) -> None:
    sender = FakeSender(store)
    look(store, sender)
    store.put_hint(f"hints/published/{plan.job_id}.json", b"{torn")
    assert look(store, sender) == [piece.unit for piece in plan.slices]


def test_a_slice_in_hand_is_not_published_and_one_of_a_dead_worker_is_at_once(store: Store, plan: Plan) -> None:
    sender = FakeSender(store, waiting=7)
    look(store, sender)
    first, second = plan.slices[0].unit, plan.slices[1].unit
    record_attempt(store, plan, second, worker=gone())
    with attempt_on(store, plan, first, lease_seconds=600):
        assert look(store, sender) == [second]
        assert look(store, sender) == []  # it waits now


def test_a_worker_elsewhere_that_falls_silent_loses_the_slice_after_a_lease(store: Store, plan: Plan) -> None:
    sender = FakeSender(store, waiting=7)
    look(store, sender)
    unit = plan.slices[0].unit
    record_attempt(store, plan, unit, worker="other-host/1/1")
    assert look(store, sender, lease_seconds=600) == []
    time.sleep(0.02)
    assert look(store, sender, lease_seconds=0.01) == [unit]


def test_a_failed_slice_is_tried_again_after_a_while_and_buried_after_enough_tries(store: Store, plan: Plan) -> None:
    def broken(prompts: list[str]) -> None:
        raise RuntimeError(f"broken on {len(prompts)}")

    sender, settings = FakeSender(store, waiting=7), Settings(store=store.uri, max_attempts=2)
    look(store, sender)
    for _ in range(2):
        with pytest.raises(Exception, match="broken"):
            score_one(store, plan, plan.slices[0], lambda _: FakeCommittee(hook=broken), settings=settings)
        assert look(store, sender, max_attempts=3) == []  # not at once
        time.sleep(0.05)
        assert look(store, sender, max_attempts=3, lease_seconds=0.05) == [plan.slices[0].unit]
    assert look(store, sender, max_attempts=2) == []
    assert [dead.unit for dead in dead_slices(store, plan)] == [plan.slices[0].unit]
    assert len(open_slices(store, plan)) == len(plan.slices) - 1


def test_finished_jobs_cost_nothing_and_new_ones_are_found(store: Store, plan: Plan) -> None:
    sender = FakeSender(store)
    score_here(store, plan, FakeCommittee())
    assert look(store, sender) == []
    other = create_plan(store, plan.dataset, (REDDER, "third@00000000cccc"))
    assert look(store, sender) == [piece.unit for piece in other.slices]


def test_slices_that_one_scorer_lacks_are_open(store: Store, plan: Plan) -> None:
    score_here(store, create_plan(store, plan.dataset, (REDDER,)), FakeCommittee((REDDER,)))
    assert look(store, FakeSender(store)) == [piece.unit for piece in plan.slices]


@pytest.fixture
def run(store: Store, plan: Plan) -> str:
    """The id of a planned training run; every slice is scored."""
    score_here(store, plan, FakeCommittee())
    metric = {"name": "margin", "scorer": "redder"}
    recipe = {"name": "best", "dataset": plan.dataset, "metric": metric, "take": {"count": 2}}
    subset = create_subset(store, parse_recipe(recipe), create_snapshot(store))
    return plan_run(store, subset.ref, {"steps": 1}).run_id


def look_at_runs(store: Store, sender: FakeSender, **changes: float) -> list[str]:
    """The runs that one look publishes."""
    sender.run_ids = []
    reconcile(store, sender, settings=Settings(store=store.uri, **changes))  # type: ignore[arg-type]
    return sender.run_ids


def gone() -> str:
    """The name of a worker of this machine that has died."""
    return f"{worker_name().rsplit('/', 2)[0]}/{2**22 + 1}/1"


def test_a_run_is_published_once_left_alone_while_it_beats_and_again_when_it_falls_silent(
    store: Store, run: str
) -> None:
    sender = FakeSender(store, waiting=3)
    assert look_at_runs(store, sender) == [run]
    assert look_at_runs(store, sender) == []
    record_run_attempt(store, run, worker="elsewhere/1/1")
    beat_run(store, run)
    assert look_at_runs(store, sender) == []
    time.sleep(0.02)
    assert look_at_runs(store, sender, lease_seconds=0.01) == [run]
    assert look_at_runs(store, sender, lease_seconds=0.01) == []  # it waits again


def test_a_run_whose_worker_is_gone_is_published_at_once_and_buried_after_enough_tries(store: Store, run: str) -> None:
    sender = FakeSender(store, waiting=3)
    look_at_runs(store, sender)
    for _ in range(2):
        record_run_attempt(store, run, worker=gone())
        beat_run(store, run)
        assert look_at_runs(store, sender, max_attempts=3) == [run]
    record_run_attempt(store, run, worker=gone())
    assert look_at_runs(store, sender, max_attempts=3) == []
    assert run_state(store, run) == "dead" and "3 tries" in (run_death(store, run) or "")


def test_a_training_that_was_told_to_stop_does_not_count(store: Store, run: str) -> None:
    sender = FakeSender(store, waiting=3)
    look_at_runs(store, sender)
    for _ in range(5):
        record_run_attempt(store, run, worker=worker_name())
        assert run_in_hand(store, run, lease_seconds=600) == worker_name()
        release_run(store, run)
    record_run_attempt(store, run, worker=gone())
    assert look_at_runs(store, sender, max_attempts=2) == [run]


def test_a_run_that_was_put_aside_is_planned_until_somebody_goes_on(store: Store, run: str) -> None:
    record_run_attempt(store, run, worker=worker_name())
    beat_run(store, run)
    assert run_state(store, run) == "running"
    release_run(store, run, aside=True)
    assert run_state(store, run) == "planned"
    assert run_in_hand(store, run, lease_seconds=600) is None
    record_run_attempt(store, run, worker=worker_name())
    assert run_state(store, run) == "running"


def test_a_finished_run_is_left_alone(store: Store, run: str) -> None:
    record_run_attempt(store, run, worker=gone())
    finish_run(store, run, {})
    assert look_at_runs(store, FakeSender(store)) == []
