"""Who works on a slice or a run now, and which tries count. Attempts are records of the store; signs of life
are hints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from ranking.errors import PairsieveError, StoreError
from ranking.names import canonical_json, parse_json
from ranking.plan import Attempt, Plan, attempts, record_attempt
from ranking.runs import ASIDE, released_key, run_attempts, run_state
from ranking.store.blobs import Store
from workers.identity import is_gone, worker_name

SignState = Literal["running", "failed", "released"]

_ENVIRONMENT = ("source-gone", "source-changed", "store-unusable", "unreachable", "canary")
"""Error codes that say something about this machine now, not about the slice; such a try does not count."""


@dataclass(frozen=True)
class Sign:
    """The newest word about a slice: `at` is Unix time, `error` one line or ""."""

    attempt: str
    state: SignState
    at: float
    error: str = ""


@dataclass(frozen=True)
class Standing:
    """Where a slice stands: the attempt that is alive, how many tries count, when it was last touched."""

    alive: Attempt | None
    counted: int
    touched: float
    sign: Sign | None


class Hand:
    """An attempt under way. `beat` may be called as often as one likes; it writes a sign now and then."""

    def __init__(self, store: Store, key: str, attempt: str, every: float) -> None:
        self.attempt = attempt
        self._store, self._key, self._every = store, key, every
        self._last = float("-inf")

    def beat(self) -> None:
        """Say that the work goes on."""
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say("running")

    def say(self, state: SignState, error: str = "") -> None:
        """Write a sign now."""
        sign = Sign(self.attempt, state, time.time(), error)
        self._store.put_hint(self._key, canonical_json(asdict(sign)))


@contextmanager
def attempt_on(store: Store, plan: Plan, unit: str, *, lease_seconds: float) -> Iterator[Hand]:
    """Record an attempt, keep its sign of life, and say how it ended.

    A try that is interrupted (Ctrl-C, a worker told to stop) or that fails for reasons outside the slice does
    not count towards `max_attempts`; one that ends in any other error, or in silence, does.
    """
    attempt = record_attempt(store, plan, unit, worker=worker_name())
    hand = Hand(store, _sign_key(plan, unit), attempt, min(15.0, lease_seconds / 4))
    hand.beat()
    try:
        yield hand
    except Exception as error:
        if is_environment(error):
            _release(store, plan, unit, attempt)
        hand.say("failed", one_line(error))
        raise
    except BaseException:
        _release(store, plan, unit, attempt)
        hand.say("released")
        raise


def standing(store: Store, plan: Plan, unit: str, *, lease_seconds: float) -> Standing:
    """Where a slice stands. Alive means: it said so within the lease, and its process is not known to be
    gone."""
    tried = attempts(store, plan, unit)
    if not tried:
        return Standing(None, 0, 0.0, None)
    released = {key.rpartition("/")[2] for key in store.list(f"hints/released/{plan.job_id}/{unit}")}
    newest = tried[-1]
    sign = last_sign(store, plan, unit)
    touched = datetime.fromisoformat(newest.created).timestamp()
    if sign is not None and sign.attempt == newest.attempt:
        touched = max(touched, sign.at)
        ended = sign.state != "running"
    else:
        ended = False
    alive = not ended and time.time() - touched < lease_seconds and not is_gone(newest.worker)
    counted = sum(attempt.attempt not in released for attempt in tried)
    return Standing(newest if alive else None, counted, touched, sign)


def last_sign(store: Store, plan: Plan, unit: str) -> Sign | None:
    """The newest sign about a slice, or None if it was lost or never given."""
    data = store.get_hint(_sign_key(plan, unit))
    if data is None:
        return None
    try:
        return Sign(**parse_json(data, where=_sign_key(plan, unit)))
    except (StoreError, TypeError):
        return None  # a hint: as good as lost


def run_in_hand(store: Store, run_id: str, *, lease_seconds: float) -> str | None:
    """The worker that trains a run now, as far as one can tell: it beat within the lease, did not put the run aside,
    and is not known to be gone."""
    tried = run_attempts(store, run_id)
    if not tried or is_gone(tried[-1].worker):
        return None
    running = run_state(store, run_id, lease_seconds=lease_seconds) == "running"
    return tried[-1].worker if running else None


def release_run(store: Store, run_id: str, *, aside: bool = False) -> None:
    """Say that this process's try at a run ended for reasons outside the run, and does not count against it. Where it
    was told to stop and put the run `aside`, another may take it up at once, and not only after the lease."""
    mine = [attempt.attempt for attempt in run_attempts(store, run_id) if attempt.worker == worker_name()]
    if mine:
        store.put_hint(released_key(run_id, mine[-1]), ASIDE if aside else b"")


def counted_run_attempts(store: Store, run_id: str) -> int:
    """How many tries count against a run."""
    released = {key.rpartition("/")[2] for key in store.list(f"hints/released/runs/{run_id}")}
    return sum(attempt.attempt not in released for attempt in run_attempts(store, run_id))


def bury_reason(counted: int, error: str) -> str:
    """Why a slice or run is given up, in one line."""
    return f"{counted} tries ended without a commit" + (f"; the last with: {error}" if error else "")


def one_line(error: BaseException) -> str:
    """An error as one line: our own as they are, others with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, PairsieveError) else f"{type(error).__name__}: {text}"


def is_environment(error: Exception) -> bool:
    """Whether an error says something about this machine now, not about the work."""
    return isinstance(error, OSError) or (isinstance(error, PairsieveError) and error.code in _ENVIRONMENT)


def _release(store: Store, plan: Plan, unit: str, attempt: str) -> None:
    store.put_hint(f"hints/released/{plan.job_id}/{unit}/{attempt}", b"")


def _sign_key(plan: Plan, unit: str) -> str:
    return f"hints/slices/{plan.job_id}/{unit}.json"
