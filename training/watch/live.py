"""What a run that still goes on tells those who watch it: its steps so far, thinned, as a hint in the store. Losing it
costs a picture, never a result."""

from __future__ import annotations

import gzip
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from ranking.names import check_id
from ranking.store.blobs import Store
from training.watch.series import Record

_EVENLY: Final = 256
_LATEST: Final = 200


class Live:
    """The steps of a run, thinned to at most 512 even ones and the latest 200, however many there were."""

    def __init__(self) -> None:
        self._even: list[Record] = []
        self._every = 1
        self._latest: deque[Record] = deque(maxlen=_LATEST)
        self.count = 0

    def add(self, record: Record) -> None:
        if self.count % self._every == 0:
            self._even.append(record)
            if len(self._even) >= 2 * _EVENLY:
                self._even, self._every = self._even[::2], 2 * self._every
        self._latest.append(record)
        self.count += 1

    @property
    def records(self) -> list[Record]:
        """What is kept, by step."""
        kept = {record["step"]: record for record in (*self._even, *self._latest)}
        return [kept[step] for step in sorted(kept)]


@dataclass(frozen=True)
class Word:
    """What a running attempt last told: its records, how many steps the run is to take, and when it told it (Unix
    time)."""

    attempt: str
    steps: int
    told: float
    records: list[dict[str, Any]]


def tell(store: Store, run_id: str, *, attempt: str, steps: int, records: list[Record]) -> None:
    """Overwrite what the run told before."""
    word = {"attempt": attempt, "steps": steps, "told": time.time(), "records": records}
    # No time in the header, so that equal words are equal bytes.
    store.put_hint(_key(run_id), gzip.compress(json.dumps(word, allow_nan=False).encode(), 4, mtime=0))


def told(store: Store, run_id: str) -> Word | None:
    """What the run last told; None where it told nothing, or nothing that can be read."""
    data = store.get_hint(_key(run_id))
    if data is None:
        return None
    try:
        return Word(**json.loads(gzip.decompress(data)))
    except (OSError, EOFError, ValueError, TypeError):
        return None


def forget(store: Store, run_id: str) -> None:
    """Take back what the run told, when its files are in the store."""
    store.delete(_key(run_id))


def _key(run_id: str) -> str:
    return f"hints/watch/{check_id('run', run_id)}"
