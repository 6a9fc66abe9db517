"""Filling makes what is missing and nothing else, whoever fills beside it and however it ends."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ranking.errors import PairsieveError
from training.caches import filling
from training.caches.claims import claimed
from training.caches.filling import Part, fill
from training.caches.places import Identity
from training.caches.shelf import Shelf, keys_of

Open = Callable[..., Shelf]
NAMES = [str(number) for number in range(40)]


class Maker:
    """Makes numbers, one part for each, and remembers which. `dies_after` so many this process is killed."""

    def __init__(self, *, unmakeable: tuple[int, ...] = (), pause: float = 0.0, dies_after: int | None = None) -> None:
        self.made: list[int] = []
        self.unmakeable, self.pause, self.dies_after = unmakeable, pause, dies_after

    def __call__(self, places: list[int]) -> Iterator[Part]:
        for place in places:
            if place in self.unmakeable:
                continue
            if len(self.made) == self.dies_after:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.pause)
            self.made.append(place)
            yield [place], {"value": np.array([[place]], np.float32)}


def test_what_is_there_is_not_made_again(open_shelf: Open) -> None:
    first, second = Maker(), Maker()
    fill(open_shelf(), keys_of(NAMES[:30]), first, piece=8)
    there = fill(open_shelf(), keys_of(NAMES), second, piece=8)
    assert there.all()
    assert sorted(first.made) == list(range(30))
    assert sorted(second.made) == list(range(30, 40))


def test_what_cannot_be_made_stays_missing_and_is_tried_once(open_shelf: Open) -> None:
    there = fill(open_shelf(), keys_of(NAMES), Maker(unmakeable=(3, 17)), piece=8)
    assert np.flatnonzero(~there).tolist() == [3, 17]


def test_what_is_damaged_is_made_again(open_shelf: Open) -> None:
    shelf, keys = open_shelf(), keys_of(NAMES)
    fill(shelf, keys, Maker(), piece=8)
    for path in list((shelf.folder / "shards").iterdir())[:2]:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    again = Maker()
    reopened = open_shelf()
    assert fill(reopened, keys, again, piece=8).all()
    assert len(again.made) == 16
    assert reopened.rows(keys)["value"][:, 0].tolist() == list(range(40))


def test_progress_counts_what_others_made_too(open_shelf: Open) -> None:
    fill(open_shelf(), keys_of(NAMES[:30]), Maker(), piece=8)
    told: list[tuple[str, int, int]] = []
    fill(open_shelf(), keys_of(NAMES), Maker(), piece=8, stage="numbers", tell=lambda *what: told.append(what))
    assert told[0] == ("numbers", 30, 40)
    assert told[-1] == ("numbers", 40, 40)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_killed_process_costs_what_it_had_not_written_and_no_claim_stays(
    open_shelf: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, keys = open_shelf(), keys_of(NAMES)
    monkeypatch.setattr(filling, "SHARD_SECONDS", 0.0)  # each part is written at once
    victim = _start(fill, shelf, keys, Maker(dies_after=21), piece=8)
    victim.join(20)
    assert victim.exitcode == -signal.SIGKILL
    survivor = Maker()
    assert fill(shelf, keys, survivor, piece=8).all()
    assert len(survivor.made) == 40 - 21
    assert shelf.rows(keys)["value"][:, 0].tolist() == list(range(40))


def test_two_processes_share_the_work_and_make_nothing_twice(open_shelf: Open, tmp_path: Path) -> None:
    shelf, keys = open_shelf(), keys_of(NAMES)
    both = [_start(_fill_and_note, tmp_path / str(turn), keys, turn / 2) for turn in range(2)]
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    made = [sorted(map(int, (tmp_path / str(turn)).read_text().split())) for turn in range(2)]
    assert all(made), "both had something to do"
    assert sorted(made[0] + made[1]) == list(range(40))
    shelf.refresh()
    assert shelf.rows(keys)["value"][:, 0].tolist() == list(range(40))


def test_who_comes_while_another_makes_the_last_piece_waits_for_it(open_shelf: Open) -> None:
    shelf, keys = open_shelf(), keys_of(NAMES[:8])
    busy = _start(fill, shelf, keys, Maker(pause=0.1), piece=8)
    while not list((shelf.folder / "claims").iterdir()):
        time.sleep(0.01)
    idle = Maker()
    assert fill(open_shelf(), keys, idle, piece=8).all()
    assert idle.made == []
    busy.join(20)


def test_an_interrupted_process_keeps_what_it_had_made(open_shelf: Open) -> None:
    def interrupted(places: list[int]) -> Iterator[Part]:
        yield from Maker()(places[:5])
        raise KeyboardInterrupt

    shelf = open_shelf()
    with pytest.raises(KeyboardInterrupt):
        fill(shelf, keys_of(NAMES), interrupted, piece=8)
    assert shelf.has(keys_of(NAMES)).sum() == 5


def test_a_write_that_fails_is_one_line_and_leaves_no_file(open_shelf: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    shelf = open_shelf()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PairsieveError, match=r"cannot be written \(No space left on device\); make room"):
        fill(shelf, keys_of(NAMES), Maker(), piece=8)
    assert not list((shelf.folder / "tmp").iterdir())
    assert not list((shelf.folder / "shards").iterdir())
    assert not list((shelf.folder / "claims").iterdir())


def test_a_claim_is_let_go_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    with claimed(path) as mine, claimed(path) as again:
        assert (mine, again) == (True, False)
    assert not path.exists()
    with claimed(path) as mine:
        assert mine


def _fill_and_note(path: Path, keys: np.ndarray, turn: float) -> None:
    maker = Maker(pause=0.02)
    fill(Shelf(Identity("numbers", "a model", {})), keys, maker, piece=4, turn=turn)
    path.write_text(" ".join(map(str, maker.made)))


def _start(work: Callable[..., object], *args: object, **options: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=work, args=args, kwargs=options)
    process.start()
    return process
