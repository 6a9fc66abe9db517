"""A run's signs of life, whatever it is at: a step of a large effective batch may take longer than a lease."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ranking.errors import PairsieveError
from ranking.runs import beat_run
from ranking.store.blobs import Store

EVERY_SECONDS = 5.0


@contextmanager
def beating(store: Store, run_id: str, *, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Beat now, and every so often until the block ends. A beat that the store refuses is left out: it costs at most a
    second attempt."""
    done = threading.Event()

    def beat() -> None:
        while True:
            with suppress(PairsieveError, OSError):
                beat_run(store, run_id)
            if done.wait(every):
                return

    thread = threading.Thread(target=beat, name=f"heartbeat-{run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
