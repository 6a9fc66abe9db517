"""A disk that has no room for a training's caches: one line that names the setting, and what was made stays good."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ranking.errors import PairsieveError
from training.caches.filling import Part
from training.caches.places import Identity
from training.caches.shelf import Shelf, keys_of
from training.caches.work import Work

ROW = 64 * 1024


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 3 MB in memory, for caches; only root may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(place))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def work_on(rows: int, *, claimed_bytes: int = ROW) -> Work:
    def make(places: list[int]) -> Iterator[Part]:
        for start in range(0, len(places), 8):
            part = places[start : start + 8]
            yield part, {"value": np.repeat(np.array(part, np.float32), ROW // 4).reshape(len(part), -1)}

    shelf = Shelf(Identity("latents", "a model", {}))
    names = map(str, range(rows))
    sizes = np.full(rows, claimed_bytes, np.int64)
    return Work("latents of pictures", "cache.latents: false", shelf, keys_of(names), make, sizes, piece=8)


def test_what_cannot_fit_is_refused_before_anything_is_made(small_disk: Path) -> None:
    work = work_on(64)
    with pytest.raises(
        PairsieveError, match=r"need 4\.2 MB .* 3\.\d MB are free: 1\.\d MB are missing; .*latents: false"
    ):
        work.fill()
    assert not list(small_disk.rglob("*.safetensors"))


def test_a_disk_that_fills_up_meanwhile_costs_the_rest_and_nothing_that_was_made(small_disk: Path) -> None:
    """Other processes write too, so a look at the room beforehand is no promise."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 1_000_000)
    work = work_on(64, claimed_bytes=0)
    with pytest.raises(PairsieveError, match=r"cannot be written \(No space left on device\)"):
        work.fill()
    made = int(work.shelf.has(work.keys).sum())
    assert 0 < made < 64
    assert not list(small_disk.rglob("tmp/*"))
    ballast.unlink()
    few = work_on(32, claimed_bytes=0)
    assert few.fill().all()
    np.testing.assert_array_equal(few.shelf.rows(few.keys)["value"][:, 0], np.arange(32))
