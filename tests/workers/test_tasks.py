"""The tasks as a worker calls them: ids in, commits out, and nothing that a message says is trusted."""

import logging

import pytest
from fake_committee import REDDER

from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.plan import attempts, create_plan, open_slices
from ranking.store.blobs import Store
from workers import committees
from workers.committees import committee_for
from workers.scorers.registry import resolve
from workers.tasks import advance, reconcile_store, score_slice


@pytest.fixture(autouse=True)
def _cold() -> None:
    committees._warm.clear()


@pytest.fixture
def technical() -> str:
    return resolve(["technical"])["technical"]


def test_a_slice_is_scored_from_ids_alone(store: Store, dataset: Dataset, technical: str) -> None:
    plan = create_plan(store, dataset.name, [technical])
    for piece in plan.slices:
        score_slice(plan.job_id, piece.unit)
        score_slice(plan.job_id, piece.unit)  # delivered twice
    assert not open_slices(store, plan)
    assert all(len(attempts(store, plan, piece.unit)) == 1 for piece in plan.slices)


@pytest.mark.parametrize(
    ("job_id", "unit"),
    [("0" * 16, "0" * 16), ("../../plans/x", "y"), ("", ""), (7, None), ({"a": 1}, ["b"]), ("0" * 16, "../x")],
)
@pytest.mark.usefixtures("store")
def test_what_the_store_does_not_have_is_ignored_with_a_reason(
    job_id: object, unit: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        score_slice(job_id, unit)
    assert len(caplog.records) == 1 and caplog.records[0].getMessage().startswith("Ignored: ")


def test_a_unit_that_is_not_of_the_job_is_ignored(
    store: Store, dataset: Dataset, technical: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = create_plan(store, dataset.name, [technical])
    with caplog.at_level(logging.WARNING):
        score_slice(plan.job_id, "0" * 16)
    assert "has no unit" in caplog.text


@pytest.mark.parametrize("other", [REDDER, "technical@ffffffffffff"])
def test_a_job_for_scorers_that_are_not_here_is_left_to_others_and_counts_no_try(
    store: Store, dataset: Dataset, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = create_plan(store, dataset.name, [other])
    with caplog.at_level(logging.ERROR):
        score_slice(plan.job_id, plan.slices[0].unit)
    assert "to other workers" in caplog.text and not attempts(store, plan, plan.slices[0].unit)


def test_a_failure_is_logged_in_one_line_and_kept_from_celery(
    store: Store, dataset: Dataset, technical: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_weights(names: list[str], *, store: object) -> None:
        del store
        raise PairsieveError(f"the weights of {names[0].partition('@')[0]} are torn", hint="load them again")

    monkeypatch.setattr(committees, "load_committee", no_weights)
    plan = create_plan(store, dataset.name, [technical])
    with caplog.at_level(logging.ERROR):
        score_slice(plan.job_id, plan.slices[0].unit)
    (record,) = caplog.records
    assert "failed: the weights of technical are torn; load them again" in record.getMessage()
    assert record.exc_info is None and len(attempts(store, plan, plan.slices[0].unit)) == 1


def test_scorers_stay_loaded_between_slices_but_not_all_that_ever_were(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[list[str]] = []
    monkeypatch.setattr(committees, "load_committee", lambda names, store: loaded.append(names) or object())
    ids = [f"scorer-{number}@0000000000aa" for number in range(3)]
    first = committee_for(ids[:2])
    assert committee_for(list(reversed(ids[:2]))) is first and len(loaded) == 1
    committee_for(ids[1:])
    assert committee_for(ids[:2]) is first
    committee_for(ids[2:])
    assert committee_for(ids[:2]) is first and len(loaded) == 3
    committee_for(ids[1:])  # was the one not used for longest
    assert loaded[-1] == tuple(ids[1:]) and len(loaded) == 4


def test_with_nothing_to_do_reconciling_and_advancing_do_nothing(store: Store) -> None:
    before = store.list("plans") + store.list("ticks")
    reconcile_store()
    advance()
    assert store.list("plans") + store.list("ticks") == before
