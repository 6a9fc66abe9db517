"""A disk that is full, and a limit on the size of files: whoever writes ends in a clear error, the store stays whole,
and when there is room again the work is done."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_scenarios import SCENARIOS
from fault_steps import disturb

from ranking.audit import audit
from ranking.errors import PairsieveError
from ranking.store.blobs import Store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB in memory; only root may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here; the limit on file sizes is tested all the same")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize(
    "scenario", ["commit", "ingest", "snapshot", "wide table", "subset", "collection", "checkpoints"]
)
def test_a_full_disk_costs_the_work_and_nothing_else(small_disk: Path, tmp_path: Path, scenario: str) -> None:
    work = SCENARIOS[scenario]
    store = Store.open(small_disk / "store")
    (tmp_path / "source").mkdir()
    work.prepare(store, tmp_path / "source")
    errors = 0
    for room in (0, 4096, 16_384, 65_536):
        ballast = small_disk / "ballast"
        fill(ballast, leave=room)
        try:
            work.work(store, tmp_path / "source")
        except PairsieveError as error:
            errors += 1
            assert "No space left" in str(error)
        ballast.unlink()
        report = audit(store)
        assert report.ok, report.errors
    assert errors >= 1, "a full disk is noticed"
    assert work.again(store, tmp_path / "source")
    assert audit(store).ok


@pytest.mark.parametrize("scenario", ["commit", "snapshot", "wide table", "subset"])
def test_a_limit_on_the_size_of_files_costs_the_work_and_nothing_else(tmp_path: Path, scenario: str) -> None:
    outcome = disturb(tmp_path, scenario, how="limit")
    assert outcome.errors == outcome.steps >= 1


def fill(path: Path, *, leave: int) -> None:
    """Write until only so many bytes are left on the disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
        file.truncate(max(0, file.tell() // 4096 * 4096 - leave))
