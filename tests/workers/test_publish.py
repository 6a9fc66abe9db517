"""Publishing: ids on queues, and no harm done when the broker is away."""

import logging
import time
from pathlib import Path

import pytest
from pickapic_factory import rows, write

from ranking.datasets import Dataset
from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from workers.drive import score_here
from workers.due import publish_times
from workers.publish import Publisher, app_for, publish_plan, publish_run
from workers.scorers.registry import load_committee, resolve


def waiting(store: Store, queue: str) -> list[tuple[str, list[str]]]:
    """(task, ids) of the messages in a queue, left as they are."""
    with app_for(store).connection_for_read() as connection:
        found = []
        while (message := connection.default_channel.basic_get(queue)) is not None:
            found.append((message.headers["task"], message.payload[0]))
        return found


def test_a_message_carries_ids_and_nothing_else(store: Store, dataset: Dataset) -> None:
    plan = create_plan(store, dataset.name, resolve(["technical"]).values())
    assert publish_plan(store, plan) == len(plan.slices)
    expected = [("workers.score_slice", [plan.job_id, piece.unit]) for piece in plan.slices]
    assert waiting(store, "score") == expected
    assert publish_plan(store, plan) == 0  # they wait


def test_a_run_is_published_once(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows(9))
    ingest(store, tmp_path / "a.parquet", "pets")
    plan = create_plan(store, "pets", resolve(["technical"]).values())
    score_here(store, plan, load_committee(["technical"], "cpu"))
    recipe = {"name": "best", "dataset": "pets", "metric": {"name": "margin", "scorer": "technical"}}
    subset = create_subset(store, parse_recipe(recipe | {"take": {"count": 2}}), create_snapshot(store))
    run = plan_run(store, subset.ref, {"steps": 1})
    assert publish_run(store, run.run_id)
    assert waiting(store, "train") == [("training.train", [run.run_id])]
    assert not publish_run(store, run.run_id)


def test_without_a_broker_there_is_one_warning_soon_and_the_work_stays_open(
    store: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PAIRSIEVE_BROKER", "redis://127.0.0.1:1/0")
    plan = create_plan(store, dataset.name, resolve(["technical"]).values())
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert publish_plan(store, plan) == 0
    assert time.monotonic() - begin < 30
    (record,) = caplog.records
    assert f"{len(plan.slices)} of workers.score_slice stay open in the store" in record.getMessage()
    assert len(open_slices(store, plan)) == len(plan.slices) and not publish_times(store, plan.job_id)
    assert Publisher(store).depth("score") is None


@pytest.mark.redis
def test_a_queue_that_does_not_exist_yet_is_empty_on_redis_too(
    store: Store, dataset: Dataset, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSIEVE_BROKER", redis_server)
    publisher = Publisher(store)
    assert publisher.depth("score") == 0
    plan = create_plan(store, dataset.name, resolve(["technical"]).values())
    assert publish_plan(store, plan) == publisher.depth("score") == len(plan.slices)
    with app_for(store).connection_for_write() as connection:
        connection.default_channel.queue_purge("score")
    assert publisher.depth("score") == 0
