"""The same for whoever builds wide tables, cuts subsets, pins, collects and restores."""

from pathlib import Path

import pytest
from fault_steps import disturb


@pytest.mark.parametrize("scenario", ["wide table", "subset", "pins", "collection", "restoring"])
def test_upkeep_whose_io_fails_ends_in_a_clear_error_or_well(tmp_path: Path, scenario: str) -> None:
    outcome = disturb(tmp_path, scenario, how="fail")
    assert outcome.errors + outcome.survived == outcome.steps
    assert outcome.errors >= outcome.steps // 2, "most failures cannot be ignored"
