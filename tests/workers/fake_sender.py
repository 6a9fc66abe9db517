"""Stands for the broker: notes what was published, and remembers it in the store as the real one does."""

from collections.abc import Iterable

from ranking.plan import Plan
from ranking.store.blobs import Store
from workers.due import RUNS, note_published


class FakeSender:
    """`waiting` is what it says of every queue's depth."""

    def __init__(self, store: Store, *, waiting: int | None = 0) -> None:
        self.store, self.waiting = store, waiting
        self.units: list[str] = []
        self.run_ids: list[str] = []
        self.advanced = 0

    def slices(self, plan: Plan, units: Iterable[str]) -> int:
        sent = list(units)
        self.units += sent
        note_published(self.store, plan.job_id, sent)
        return len(sent)

    def runs(self, run_ids: Iterable[str]) -> int:
        sent = list(run_ids)
        self.run_ids += sent
        note_published(self.store, RUNS, sent)
        return len(sent)

    def advance(self) -> bool:
        self.advanced += 1
        return True

    def depth(self, queue: str) -> int | None:
        assert queue in ("score", "train")
        return self.waiting
