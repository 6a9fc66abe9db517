"""Taking slices in hand: attempts, signs of life, and what counts against a slice."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_committee import GREENER, REDDER, FakeCommittee

from ranking.datasets import Dataset
from ranking.errors import SourceError
from ranking.plan import Plan, attempts, bury, create_plan, dead_slices, open_slices, progress, record_attempt
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.commits import get_commit, list_commits
from workers.attempts import attempt_on, last_sign, standing
from workers.drive import OtherScorerError, Outcome, score_here, score_one
from workers.identity import is_gone, worker_name
from workers.scorers.base import Batch

BOTH = (REDDER, GREENER)


@pytest.fixture
def plan(store: Store, dataset: Dataset) -> Plan:
    return create_plan(store, dataset.name, BOTH)


def take(store: Store, plan: Plan, committee: FakeCommittee, **changes: float) -> Outcome:
    settings = Settings(store=store.uri, **changes)  # type: ignore[arg-type]
    return score_one(store, plan, plan.slices[0], lambda _: committee, settings=settings)


def broken(prompts: list[str]) -> None:
    raise RuntimeError(f"broken on {len(prompts)}")


def test_a_process_is_gone_only_when_it_surely_is() -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, _, _ = worker_name().rsplit("/", 2)
    try:
        assert not is_gone(worker_name())
        assert is_gone(f"{host}/{other.pid}/1")  # the number was used again
        assert not is_gone(f"elsewhere/{other.pid}/1")
        assert not is_gone("not a worker")
    finally:
        other.communicate(b"\n")
    assert is_gone(f"{host}/{other.pid}/1")


def test_a_plan_is_scored_here_without_any_broker_and_a_second_time_does_nothing(store: Store, plan: Plan) -> None:
    committee, seen = FakeCommittee(), []
    report = score_here(store, plan, committee, seen.append)
    state = progress(store, plan)
    assert (state.units_open, state.units_done) == (0, 2 * len(plan.slices))
    assert sum(seen) == sum(piece.rows for piece in plan.slices) == sum(done.items for done in report.reports)
    assert not report.errors and not report.elsewhere
    asked = len(committee.calls)
    assert score_here(store, plan, committee).reports == () and len(committee.calls) == asked
    assert not (store.workspace / "broker").exists()


def test_only_the_scorers_without_a_marker_are_asked_for(store: Store, plan: Plan) -> None:
    wanted: list[list[str]] = []
    score_one(store, plan, plan.slices[0], lambda ids: FakeCommittee(tuple(ids)))
    first = plan.slices[1]
    score_here(store, create_plan(store, plan.dataset, (GREENER,)), FakeCommittee((GREENER,)))
    score_one(store, plan, first, lambda ids: wanted.append(list(ids)) or FakeCommittee(tuple(ids)))
    assert wanted == [[REDDER]]


def test_scorers_with_other_weights_are_refused(store: Store, plan: Plan) -> None:
    with pytest.raises(OtherScorerError, match="the plan asks for redder@00000000aaaa, but here is redder@ffff"):
        score_here(store, plan, FakeCommittee(("redder@ffffffffffff", GREENER)))


def test_a_slice_in_hand_is_left_alone_until_its_lease_ends(store: Store, plan: Plan) -> None:
    unit = plan.slices[0].unit
    with attempt_on(store, plan, unit, lease_seconds=600):
        assert take(store, plan, FakeCommittee()).state == "in hand"
        assert take(store, plan, FakeCommittee(), lease_seconds=1e-9).state == "scored"
    assert take(store, plan, FakeCommittee()).state == "done"


def test_a_slice_in_the_hand_of_a_dead_process_is_taken_at_once(store: Store, plan: Plan) -> None:
    host = worker_name().rsplit("/", 2)[0]
    record_attempt(store, plan, plan.slices[0].unit, worker=f"{host}/{2**22 + 1}/1")
    assert take(store, plan, FakeCommittee()).state == "scored"


def test_a_slice_that_fails_too_often_is_given_up_with_the_last_error(store: Store, plan: Plan) -> None:
    for _ in range(2):
        with pytest.raises(Exception, match="broken on"):
            take(store, plan, FakeCommittee(hook=broken), max_attempts=2)
    assert take(store, plan, FakeCommittee(hook=broken), max_attempts=2).state == "dead"
    (dead,) = dead_slices(store, plan)
    assert dead.reason.startswith("2 tries ended without a commit; the last with: the scorers failed on every")
    assert take(store, plan, FakeCommittee()).state == "dead"


def test_being_told_to_stop_does_not_count_against_a_slice(store: Store, plan: Plan) -> None:
    def stop(prompts: list[str]) -> None:
        raise SystemExit(len(prompts))

    for _ in range(3):
        with pytest.raises(SystemExit):
            take(store, plan, FakeCommittee(hook=stop), max_attempts=1)
    assert len(attempts(store, plan, plan.slices[0].unit)) == 3
    assert take(store, plan, FakeCommittee(), max_attempts=1).state == "scored"


def test_a_source_that_is_away_does_not_count_against_a_slice(store: Store, plan: Plan, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.rename(tmp_path / "unmounted")
    for _ in range(3):
        with pytest.raises(SourceError, match="is gone"):
            take(store, plan, FakeCommittee(), max_attempts=1)
    sign = last_sign(store, plan, plan.slices[0].unit)
    assert sign is not None and sign.state == "failed" and "is gone" in sign.error
    (tmp_path / "unmounted").rename(source)
    assert take(store, plan, FakeCommittee(), max_attempts=1).state == "scored"


def test_one_slice_that_fails_does_not_stop_the_others(store: Store, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "source/part-0.parquet").unlink()
    report = score_here(store, plan, FakeCommittee())
    bad = [piece for piece in plan.slices if piece.source == 0]
    assert len(report.errors) == len(bad) and all("is gone" in error for error in report.errors)
    assert [piece for piece, _ in open_slices(store, plan)] == bad


def test_a_slice_that_was_given_up_is_reported(store: Store, plan: Plan) -> None:
    bury(store, plan, plan.slices[0].unit, reason="it is cursed")
    assert len(score_here(store, plan, FakeCommittee()).reports) == len(plan.slices) - 1


def test_the_commit_names_the_attempt_that_made_it(store: Store, plan: Plan) -> None:
    take(store, plan, FakeCommittee())
    (attempt,) = attempts(store, plan, plan.slices[0].unit)
    assert get_commit(store, scorer_id=REDDER, unit=plan.slices[0].unit).attempt == attempt.attempt
    assert attempt.worker == worker_name()


def test_losing_every_hint_changes_no_decision_about_what_is_done(store: Store, plan: Plan) -> None:
    unit = plan.slices[0].unit
    with pytest.raises(Exception, match="broken on"):
        take(store, plan, FakeCommittee(hook=broken))
    for path in (store.workspace / "hints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"torn")
    stands = standing(store, plan, unit, lease_seconds=600)
    assert stands.counted == 1 and stands.alive is not None  # as far as one can tell it still runs
    assert take(store, plan, FakeCommittee(), lease_seconds=1e-9).state == "scored"


def test_on_a_gpu_two_slices_are_in_hand_and_one_is_scored_at_a_time(store: Store, plan: Plan) -> None:
    class Watched(FakeCommittee):
        device = "cuda"
        inside = most = 0

        def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
            Watched.inside += 1
            Watched.most = max(Watched.most, Watched.inside)
            time.sleep(0.01)
            Watched.inside -= 1
            return super().score(batch, scorer_ids)

    both: list[int] = []

    def count(items: int) -> None:
        pieces = [piece for piece, _ in open_slices(store, plan)]
        both.append(sum(standing(store, plan, piece.unit, lease_seconds=60).alive is not None for piece in pieces))

    report = score_here(store, plan, Watched(), count)
    assert len(report.reports) == len(plan.slices) > 2 and not report.errors
    assert Watched.most == 1 and max(both) == 2


def test_a_stop_gives_both_slices_back(store: Store, plan: Plan) -> None:
    committee = FakeCommittee()
    committee.device = "cuda"

    def stop(items: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_here(store, plan, committee, stop)
    states = [standing(store, plan, piece.unit, lease_seconds=60) for piece in plan.slices]
    assert not any(state.counted or state.alive for state in states) and not list_commits(store)
