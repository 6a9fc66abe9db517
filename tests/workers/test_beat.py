"""The clock as Celery's beat runs it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pickapic_factory import rows, write

from ranking.ingest import ingest
from ranking.schedules import Schedule, add_schedule
from ranking.settings import load_settings
from ranking.store.blobs import Store
from workers.beat import StoreScheduler
from workers.celery_app import make_app


@pytest.fixture
def app(store: Store, monkeypatch: pytest.MonkeyPatch) -> Celery:
    monkeypatch.setenv("PAIRSIEVE_CLOCK_SPEED", str(86_400 / 0.05))
    assert store.workspace.is_dir()
    return make_app(load_settings())


def sent(app: Celery) -> list[str]:
    """The names of the control messages that wait, taken away."""
    names = []
    with app.connection_for_read() as connection:
        while (message := connection.default_channel.basic_get("control")) is not None:
            names.append(message.headers["task"])
            message.ack()
    return names


def add(store: Store, **changes: Any) -> None:
    spec: dict[str, Any] = {"name": "nightly", "every_seconds": 86_400.0, "dataset": "pets", "source": None}
    spec |= {"scorers": ("technical",), "recipe": None, "train": None}
    add_schedule(store, Schedule(**spec | changes))


def test_it_asks_for_the_reconciler_at_once_and_then_every_so_often(app: Celery) -> None:
    beat = StoreScheduler(app)
    wait = beat.tick()
    assert sent(app) == ["workers.reconcile"]
    assert 0.1 <= wait <= 5.0
    beat.tick()
    assert sent(app) == []


def test_it_does_not_fill_the_queue_while_nobody_listens(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_RECONCILE_SECONDS", "0.001")
    beat = StoreScheduler(app)
    for _ in range(10):
        time.sleep(0.002)
        beat.tick()
    assert len(sent(app)) == 4
    beat.tick()
    assert len(sent(app)) == 1


def test_a_due_schedule_is_recorded_in_the_store_and_announced_once(app: Celery, store: Store) -> None:
    add(store)
    beats = [StoreScheduler(app), StoreScheduler(app)]
    for beat in beats * 2:
        beat.tick()
    assert sorted(sent(app)) == ["workers.advance_schedules", "workers.reconcile", "workers.reconcile"]
    assert [path.name for path in (store.workspace / "ticks/nightly").iterdir()] == ["0000000001"]


def test_a_restart_neither_loses_nor_repeats_a_tick(app: Celery, store: Store) -> None:
    add(store)
    StoreScheduler(app).tick()
    restarted = StoreScheduler(app)
    restarted.tick()
    assert sent(app).count("workers.advance_schedules") == 1
    store.put_if_absent("ticks/nightly/0000000001/done.json", b'{"detail":""}')
    time.sleep(0.06)
    StoreScheduler(app).tick()
    assert sent(app).count("workers.advance_schedules") == 1
    assert len(list((store.workspace / "ticks/nightly").iterdir())) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.put_hint("hints/x", b""),
        lambda s: s.put_if_absent("schedules/nightly/0000000002.json", b"{"),
    ],
)
def test_the_clock_survives_a_store_it_cannot_read(app: Celery, store: Store, spoil: Callable[[Store], None]) -> None:
    add(store)
    spoil(store)
    assert StoreScheduler(app).tick() > 0


def test_without_a_broker_it_goes_on_and_the_tick_stays_open(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSIEVE_BROKER", "redis://127.0.0.1:1/0")
    write(tmp_path / "a.parquet", rows(3))
    ingest(store, tmp_path / "a.parquet", "pets")
    add(store)
    assert StoreScheduler(make_app(load_settings())).tick() > 0
    assert (store.workspace / "ticks/nightly/0000000001/due.json").is_file()
