"""A writer is killed at every step of a commit, an ingest and a snapshot: nothing half-made is ever visible, and doing
it again gives what a calm run gives."""

from pathlib import Path

import pytest
from fault_steps import disturb


@pytest.mark.parametrize(("scenario", "least"), [("one key", 7), ("commit", 40), ("snapshot", 10), ("ingest", 30)])
def test_a_killed_writer_leaves_a_whole_store(tmp_path: Path, scenario: str, least: int) -> None:
    assert disturb(tmp_path, scenario, how="kill").steps >= least


def test_a_killed_import_leaves_a_whole_store_and_goes_on(tmp_path: Path) -> None:
    assert disturb(tmp_path, "import", how="kill", every=7).steps >= 40
