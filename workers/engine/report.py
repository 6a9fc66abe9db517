"""What happened to a slice, in numbers: counts by status and seconds by stage."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class SliceReport:
    """One slice through its scorers.

    `failed_by` counts, for each scorer, the items without a score by status; all others of `items` have one.
    `committed` are the scorers whose scores became real by this call, `lost` those that another worker committed first.
    `seconds` are by stage (read, decode, infer, write) and overlap, because stages run side by side; `elapsed` is the
    wall time.
    """

    unit: str
    items: int
    images: int
    failed_by: dict[str, dict[str, int]]
    committed: tuple[str, ...]
    lost: tuple[str, ...]
    seconds: dict[str, float]
    elapsed: float

    @property
    def items_per_second(self) -> float:
        """Items through all scorers per second of wall time; 0.0 for an empty slice."""
        return self.items / self.elapsed if self.items and self.elapsed else 0.0

    def line(self) -> str:
        """The report as one line for a log."""
        bad: Counter[str] = Counter()
        for failed_of_one in self.failed_by.values():
            bad |= Counter(failed_of_one)  # the larger: a corrupt picture fails for every scorer
        stages = " ".join(f"{stage} {seconds:.1f}s" for stage, seconds in self.seconds.items())
        failed = "".join(f", {count} {status}" for status, count in sorted(bad.items()))
        lost = f", {len(self.lost)} committed elsewhere first" if self.lost else ""
        return (
            f"slice {self.unit}: {self.items} items ({self.images} images) by {len(self.committed)} scorers "
            f"in {self.elapsed:.1f}s ({stages}){failed}{lost}"
        )


class Stopwatch:
    """Adds up seconds by stage; stages may run in several threads at once."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "decode", "infer", "write"), 0.0)
        self._start = time.monotonic()
        self._lock = threading.Lock()

    @property
    def elapsed(self) -> float:
        """Seconds of wall time since it was made."""
        return time.monotonic() - self._start

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Adds the time spent inside to a stage."""
        begin = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.monotonic() - begin
