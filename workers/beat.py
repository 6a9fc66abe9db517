"""The clock: records the ticks of the schedules in the store and asks workers to act on them and to
reconcile.

It keeps no file of its own: a restart loses no tick and repeats none, and two clocks are as good as one.
"""

import time
from typing import Any

from celery.beat import Scheduler
from celery.utils.log import get_logger

from ranking.schedules import list_schedules
from ranking.settings import load_settings
from ranking.store.blobs import Store
from workers.attempts import one_line
from workers.publish import Publisher
from workers.schedule import begin_tick, due_at

logger = get_logger(__name__)

_LONGEST_SLEEP = 5.0  # seconds; how late a schedule that was added just now may be seen
_SHORTEST_SLEEP = 0.1


class StoreScheduler(Scheduler):  # type: ignore[misc]
    """A beat scheduler that reads its schedules from the store, and adds the reconciler's own beat."""

    def __init__(self, app: Any, *args: Any, lazy: bool = False, **kwargs: Any) -> None:
        self._settings = load_settings()
        self._publisher: Publisher | None = None
        self._reconcile_at = float("-inf")
        super().__init__(app, *args, lazy=lazy, **kwargs)
        self.max_interval = _LONGEST_SLEEP

    def setup_schedule(self) -> None:
        """Prove the store; there is nothing else to set up."""
        self._publisher = Publisher(Store.open(self._settings.store))

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due now; the seconds until there may be more."""
        if self._publisher is None:
            self.setup_schedule()
        assert self._publisher is not None
        try:
            return self._tick(self._publisher)
        except Exception as error:  # a full disk must not stop the clock
            logger.error("The clock missed a beat: %s", one_line(error))
            return _LONGEST_SLEEP

    def _tick(self, publisher: Publisher) -> float:
        store, speed = publisher.store, self._settings.clock_speed
        schedules = list_schedules(store)
        began = [s.name for s in schedules if begin_tick(store, s, clock_speed=speed)]
        if began:
            logger.info("Schedules due: %s", ", ".join(began))
            publisher.advance()
        if time.monotonic() >= self._reconcile_at:
            self._reconcile_at = time.monotonic() + self._settings.reconcile_seconds
            publisher.reconcile()
        due = [at - time.time() for s in schedules if (at := due_at(store, s, clock_speed=speed)) is not None]
        wait = min([*due, self._reconcile_at - time.monotonic(), _LONGEST_SLEEP])
        return max(wait, _SHORTEST_SLEEP)

    @property
    def info(self) -> str:
        """For beat's banner."""
        return f"    . store -> {self._settings.store}"
