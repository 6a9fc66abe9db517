"""Processes of the command line in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes with the store and the caches in `tmp_path`; those that still run are ended with the test."""
    (tmp_path / "logs").mkdir()
    env = {
        "PAIRSIEVE_STORE": str(tmp_path / "store"),
        "PAIRSIEVE_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    started = Processes(tmp_path / "logs", env)
    yield started
    started.stop()
