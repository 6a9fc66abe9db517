"""Workers, snapshotters, collectors and pinners over one store in memory, taking turns as a seed says, put off for days
and killed between any two requests: whatever the order, nothing that counts is lost.

What a day or a kill can do between two requests is what a scheduler or a power cut does in life. All together the
clock runs ahead by less than the age of collected data plus the grace period: a writer that is held for longer between
two requests and then killed before the next can lose a file, as docs/decisions/0006 says."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aged import DAY
from memory_blobs import MemoryBlobs
from pickapic_factory import rows, write
from scored import score_table

from ranking import plan
from ranking.audit import audit
from ranking.collection import Ages, collect, plan_collection
from ranking.errors import NotFoundError, PairsieveError
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores, list_commits
from ranking.store.refs import list_refs, pin, release
from ranking.store.snapshots import create_snapshot, get_snapshot, latest_snapshot, list_snapshots

SEEDS = 800
LONGEST = 7.9 * DAY  # in all, less than the eight days after which a file can be gone for good
AGES = Ages(snapshots=3 * DAY)
SCORERS = ("sharp@00000000", "hue@11111111")


class Killed(BaseException):
    """No error, so that nothing catches it."""


@dataclass
class Turn:
    """Whose turn it is, by a seed: one thread runs at a time, and changes only where `pause` is called."""

    random: random.Random
    blobs: MemoryBlobs
    deadly: bool
    slow: float
    left: float = LONGEST

    def __post_init__(self) -> None:
        self.waiting: dict[int, threading.Event] = {}
        self.held: dict[int, int] = {}
        self.steps = self.kills = self.errors = 0
        self.flaws: list[BaseException] = []

    def run(self, actors: list[Callable[[], object]]) -> None:
        """Let the actors take turns until all have ended."""
        threads = [threading.Thread(target=self._act, args=(number, actor)) for number, actor in enumerate(actors)]
        self.waiting = {number: threading.Event() for number in range(len(actors))}
        self.mine = threading.local()
        self.blobs.pause = self._pause
        for thread in threads:
            thread.start()
        self._next()
        for thread in threads:
            thread.join()
        self.blobs.pause = lambda what: None

    def _act(self, number: int, actor: Callable[[], object]) -> None:
        self.mine.number = number
        self.waiting[number].wait()
        try:
            actor()
        except Killed:
            self.kills += 1
        except PairsieveError:
            self.errors += 1  # what it says may be true at that moment: others are at work
        except BaseException as flaw:
            self.flaws.append(flaw)
        del self.waiting[number]
        self._next()

    def _pause(self, what: str) -> None:
        number = getattr(self.mine, "number", None)
        if number is None:
            return  # a helper thread of whoever has the turn
        self.steps += 1
        # Where it could hurt: before a marker, before the look that follows it, before a file is put aside.
        hurts = what.startswith(
            ("create commits", "create refs", "look at data", "look at snapshots", "copy", "delete")
        )
        if self.random.random() < (0.06 if hurts and self.deadly else 0.004 if self.deadly else 0):
            raise Killed
        if self.random.random() < (self.slow if hurts else 0.02):
            self.held[number] = self.steps + self.random.choice([10, 50, 150, 300])
            ahead = min(self.left, self.random.choice([0, 0, 1.1, 3.1, 7.2]) * DAY)
            self.left -= ahead
            self.blobs.now += ahead
        if number in self.held or self.random.random() < 0.5:
            self.waiting[number].clear()
            self._next()
            self.waiting[number].wait()

    def _next(self) -> None:
        """Wake one that is not held; if all are, the one that is free first."""
        self.held = {number: until for number, until in self.held.items() if until > self.steps}
        free = sorted(set(self.waiting) - set(self.held))
        if not free and self.waiting:
            free = [min(self.waiting, key=lambda number: (self.held[number], number))]
            del self.held[free[0]]
        if free:
            self.waiting[self.random.choice(free)].set()


@pytest.fixture(scope="module")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[bytes, float]]]:
    """A store with a dataset of three slices, two snapshots, and old files that killed commits have left: they are
    exactly what the workers may write, in place and in the trash."""
    folder = tmp_path_factory.mktemp("simulated")
    blobs = MemoryBlobs(folder / "memory", now=1e9)
    store = Store(blobs)
    real = Store.open(folder / "real")
    ingest(real, write(folder / "pairs.parquet", rows(5)), "pets", slice_items=4)
    for key in real.list(""):
        blobs.blobs[key] = (real.get(key), 1e9)
    work(store, random.Random(0), scorer_ids=("old@22222222",))
    create_snapshot(store)
    kept = dict(blobs.blobs)
    for same in (True, False):
        work(store, random.Random(same))
    for key, (data, _) in blobs.blobs.items():
        if key.startswith("data/") and key not in kept:
            kept[key] = kept[f"trash/20010101t000000-00000000/{key}"] = (data, 1e9)
    return folder / "memory", kept


def work(store: Store, noise: random.Random, *, scorer_ids: tuple[str, ...] = SCORERS) -> None:
    """Score what is open; half of the time not quite as others do, as on another device."""
    shift = noise.choice([0.0, 0.0, noise.random()])
    job = plan.create_plan(store, "pets", scorer_ids)
    for piece, missing in plan.open_slices(store, job):
        items = plan.read_items(store, job, piece)
        uids = items["image_uid"].to_pylist()
        for scorer_id in missing:
            table = score_table(uids, items["prompt_id"].to_pylist(), [len(uid) + shift for uid in uids])
            commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt="x", items=items)


def tidy(store: Store, blobs: MemoryBlobs) -> None:
    for _ in range(2):
        collect(store, plan_collection(store, now=blobs.now, ages=AGES))


def pin_one(store: Store, name: str) -> None:
    found = latest_snapshot(store)
    assert found is not None
    pin(store, "manual", name, found)
    assert get_snapshot(store, found.n) == found, "what is pinned is there"


def simulate(seed: int, folder: Path, start: dict[str, tuple[bytes, float]]) -> Turn:
    """One life of a store; what must hold in the end is asserted."""
    chance = random.Random(seed)
    blobs = MemoryBlobs(folder, blobs=start, now=1e9 + chance.choice([0, 6.9, 30]) * DAY)
    store = Store(blobs)
    turn = Turn(chance, blobs, deadly=seed % 2 == 1, slow=chance.choice([0.1, 0.3, 0.7]))
    noise = [random.Random(seed * 10 + number) for number in range(2)]
    turn.run(
        [
            lambda: work(store, noise[0]),
            lambda: work(store, noise[1]),
            lambda: create_snapshot(store),
            lambda: create_snapshot(store),
            lambda: tidy(store, blobs),
            lambda: tidy(store, blobs),
            lambda: pin_one(store, "a"),
        ]
    )
    assert not turn.flaws, turn.flaws
    if not turn.kills and not turn.errors:
        for commit in list_commits(store):
            assert store.digest(commit.file) == commit.sha256, f"{commit.file} is gone, and nobody was killed"
    pinned = {found.snapshot: found.sha for found in list_refs(store)}
    # The dust settles: whoever was killed is started again.
    tidy(store, blobs)
    work(store, random.Random(seed))
    snapshot = create_snapshot(store)
    job = plan.create_plan(store, "pets", SCORERS)
    assert plan.open_slices(store, job) == []
    for commit in list_commits(store):
        assert store.digest(commit.file) == commit.sha256, commit
    for n, sha in pinned.items():
        assert get_snapshot(store, n).sha == sha
    assert list_snapshots(store)[-1] == snapshot
    report = audit(store, deep=False, now=blobs.now)
    assert report.ok, report.errors
    with pytest.raises(NotFoundError):
        release(store, "manual", "b")
    return turn


def test_no_order_of_events_loses_what_counts(beginning: tuple[Path, dict[str, tuple[bytes, float]]]) -> None:
    folder, start = beginning
    steps = kills = moved = 0
    for seed in range(SEEDS):
        try:
            turn = simulate(seed, folder, start)
        except BaseException as flaw:
            raise AssertionError(f"seed {seed}: {flaw}") from flaw
        steps += turn.steps
        kills += turn.kills
        moved += turn.left < LONGEST
    assert kills > SEEDS / 4 and steps > 50 * SEEDS and moved > SEEDS / 2


def test_a_seed_tells_the_same_story_twice(beginning: tuple[Path, dict[str, tuple[bytes, float]]]) -> None:
    folder, start = beginning
    first, second = (simulate(7, folder, start) for _ in range(2))
    assert (first.steps, first.kills, first.left) == (second.steps, second.kills, second.left)
