"""What happened to a slice, in numbers: counts by status, seconds by stage, and which stage held the others up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

READ, DECODE, INFER, WRITE, WAIT = "read", "decode", "infer", "write", "wait"
_BUSY = 0.5  # a stage that works less holds nobody up
_ADVICE = {
    READ: "reading the sources: put them on a faster disk or nearer",
    DECODE: "decoding: add processors, or raise PAIRSIEVE_DECODERS if some are idle",
    INFER: "inference: take a faster device, more of them, or a lower precision (name:bf16)",
    WRITE: "writing to the store: put it on a faster disk, or cut larger slices",
}


@dataclass(frozen=True)
class SliceReport:
    """One slice through its scorers.

    `failed_by` counts, for each scorer, the items without a score by status; all others of `items` have one.
    `committed` are the scorers whose scores became real by this call, `lost` those that another worker committed first,
    `constant` those that gave every image the same score.
    `seconds` of work are by stage and overlap, because stages run side by side: `read`, `decode` (of all `decoders`
    together), `infer`, `write`; `wait` is how long the scorer had nothing to do. `elapsed` is the wall time.
    """

    unit: str
    items: int
    images: int
    failed_by: dict[str, dict[str, int]]
    committed: tuple[str, ...]
    lost: tuple[str, ...]
    seconds: dict[str, float]
    elapsed: float
    constant: tuple[str, ...] = ()
    decoders: int = 1

    @property
    def items_per_second(self) -> float:
        """Items through all scorers per second of wall time; 0.0 for an empty slice."""
        return self.items / self.elapsed if self.items and self.elapsed else 0.0

    def line(self) -> str:
        """The report as one line for a log."""
        bad: Counter[str] = Counter()
        for failed_of_one in self.failed_by.values():
            bad |= Counter(failed_of_one)  # the larger: a corrupt picture fails for every scorer
        stages = ", ".join(
            f"{stage.name} {stage.rate:,.0f}/s {stage.share:.0%}" for stage in stages_of([self]) if stage.seconds
        )
        failed = "".join(f", {count} {status}" for status, count in sorted(bad.items()))
        lost = f", {len(self.lost)} committed elsewhere first" if self.lost else ""
        constant = f", the same score for every image by {', '.join(self.constant)}" if self.constant else ""
        return (
            f"slice {self.unit}: {self.items} items ({self.images} images) by {len(self.committed)} scorers "
            f"in {self.elapsed:.1f}s ({stages}){failed}{constant}{lost}"
        )


@dataclass(frozen=True)
class Stage:
    """One stage over some slices: seconds of work, images a second while it worked (in all its processes together), and
    the share of the wall time that it was at work. What is missing to 1 it waited."""

    name: str
    seconds: float
    rate: float
    share: float


def stages_of(reports: Sequence[SliceReport], elapsed: float | None = None) -> list[Stage]:
    """The stages of slices that took `elapsed` seconds of wall time together (their sum, unless given because they
    overlapped)."""
    elapsed = elapsed or sum(report.elapsed for report in reports)
    images = sum(report.images for report in reports)
    stages = []
    for name in (READ, DECODE, INFER, WRITE):
        seconds = sum(report.seconds[name] for report in reports)
        hands = max((report.decoders for report in reports), default=1) if name == DECODE else 1
        rate = images * hands / seconds if seconds else 0.0
        stages.append(Stage(name, seconds, rate, seconds / hands / elapsed if elapsed else 0.0))
    return stages


def bottleneck(stages: Sequence[Stage]) -> str:
    """The stage that was busiest and what would help, in a line."""
    busiest = max(stages, key=lambda stage: stage.share)
    if busiest.share < _BUSY:
        return f"nothing: {busiest.name} was the busiest, {busiest.share:.0%} of the time; the rest was starting up"
    return f"{_ADVICE[busiest.name]} (busy {busiest.share:.0%} of the time)"


class Stopwatch:
    """Adds up seconds by stage; stages may run in several threads at once."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((READ, DECODE, INFER, WRITE, WAIT), 0.0)
        self._start = time.monotonic()
        self._lock = threading.Lock()

    @property
    def elapsed(self) -> float:
        """Seconds of wall time since it was made."""
        return time.monotonic() - self._start

    def add(self, stage: str, seconds: float) -> None:
        """Adds time that was measured elsewhere."""
        with self._lock:
            self.seconds[stage] += seconds

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Adds the time spent inside to a stage."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(stage, time.monotonic() - begin)
