"""Puts hints on the queues. Softly: when the broker is away, the work stays open in the store for the
reconciler."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from celery import Celery
from celery.utils.log import get_logger
from kombu.exceptions import ChannelError, OperationalError

from ranking.plan import Plan
from ranking.settings import load_settings
from ranking.store.blobs import Store
from workers.celery_app import ADVANCE, CONTROL, RECONCILE, SCORE, SCORE_SLICE, TRAIN, TRAIN_RUN, make_app
from workers.due import RUNS, due_runs, due_slices, note_published

logger = get_logger(__name__)

_ENOUGH = 4  # control messages; each of them finds all there is to do
_AWAY = (OperationalError, ChannelError, OSError)


class Publisher:
    """Sends ids to the queues of the broker that belongs to a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.app = app_for(store)

    def slices(self, plan: Plan, units: Iterable[str]) -> int:
        """Publish units of a plan; returns how many the broker took."""
        return self._send(SCORE_SLICE, plan.job_id, [(unit, (plan.job_id, unit)) for unit in units])

    def runs(self, run_ids: Iterable[str]) -> int:
        """Publish training runs; returns how many the broker took."""
        return self._send(TRAIN_RUN, RUNS, [(run_id, (run_id,)) for run_id in run_ids])

    def advance(self) -> bool:
        """Ask a worker to advance the schedules, unless enough such messages wait already."""
        return self._ask(ADVANCE)

    def reconcile(self) -> bool:
        """Ask a worker to look for open work, unless enough such messages wait already."""
        return self._ask(RECONCILE)

    def depth(self, queue: str) -> int | None:
        """How many messages wait in a queue, or None when the broker does not say."""
        try:
            with self.app.connection_for_read() as connection:
                # Not passive: kombu leaves the key prefix out of EXISTS, so every queue would seem to be missing.
                return int(connection.default_channel.queue_declare(queue).message_count)
        except _AWAY:
            return None

    def _ask(self, task: str) -> bool:
        # While the only worker trains for hours, the clock would fill the queue with the same request.
        return (self.depth(CONTROL) or 0) < _ENOUGH and self._send(task, None, [("", ())]) == 1

    def _send(self, task: str, group: str | None, messages: list[tuple[str, tuple[Any, ...]]]) -> int:
        sent: list[str] = []
        try:
            for name, args in messages:
                # No retries here: the reconciler is the retry, and a caller must not hang on a dead broker.
                self.app.send_task(task, args=args, retry=False)
                sent.append(name)
        except _AWAY as error:
            left = len(messages) - len(sent)
            logger.warning("The broker is away (%s); %d of %s stay open in the store", error, left, task)
        if group is not None and sent:
            note_published(self.store, group, sent)
        return len(sent)


def publish_plan(store: Store, plan: Plan) -> int:
    """Publish the open units of a plan that are neither in hand nor waiting; returns how many the broker
    took."""
    publisher = Publisher(store)
    due = due_slices(store, plan, load_settings(), queue_empty=publisher.depth(SCORE) == 0)
    return publisher.slices(plan, due.publish)


def publish_run(store: Store, run_id: str) -> bool:
    """Publish a planned run unless it is in hand or waiting; whether the broker took it."""
    publisher = Publisher(store)
    due = due_runs(store, load_settings(), queue_empty=publisher.depth(TRAIN) == 0)
    return run_id in due.publish and publisher.runs([run_id]) == 1


def app_for(store: Store) -> Celery:
    """The Celery application whose broker belongs to a store: that of the settings, with this store's
    folder."""
    return _app(store.uri, load_settings().broker)


@lru_cache(maxsize=8)
def _app(uri: str, broker: str | None) -> Celery:
    app = make_app(load_settings().model_copy(update={"store": uri, "broker": broker}))
    # kombu goes on connecting for seconds by default, once for each message.
    app.conf.broker_transport_options |= {"max_retries": 1, "interval_start": 0, "interval_step": 0}
    return app
