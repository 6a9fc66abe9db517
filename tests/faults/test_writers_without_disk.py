"""Every open, write, fsync, link, rename, unlink and mkdir of a writer fails once, with one of four errors in turn: the
writer says so in one line or goes on, and the store is whole."""

from pathlib import Path

import pytest
from fault_steps import disturb


@pytest.mark.parametrize("scenario", ["one key", "commit", "snapshot", "ingest"])
def test_a_writer_whose_io_fails_ends_in_a_clear_error_or_well(tmp_path: Path, scenario: str) -> None:
    outcome = disturb(tmp_path, scenario, how="fail")
    assert outcome.errors + outcome.survived == outcome.steps
    assert outcome.errors >= outcome.steps // 2, "most failures cannot be ignored"
