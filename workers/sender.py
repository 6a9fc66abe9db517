"""What those who find open work need of the one who publishes it; workers.publish.Publisher is the real
one."""

from collections.abc import Iterable
from typing import Protocol

from ranking.plan import Plan


class Sender(Protocol):
    """Puts hints on queues, softly: what it cannot send stays open in the store."""

    def slices(self, plan: Plan, units: Iterable[str]) -> int:
        """Publish units of a plan; how many were taken."""

    def runs(self, run_ids: Iterable[str]) -> int:
        """Publish training runs; how many were taken."""

    def advance(self) -> bool:
        """Ask a worker to advance the schedules; whether the message was taken."""

    def depth(self, queue: str) -> int | None:
        """How many messages wait in a queue, or None when the broker does not say."""
