"""Whoever builds a wide table, cuts a subset, pins, collects or restores is killed at every step: nothing that is named
is lost, and doing it again gives what a calm run gives."""

from pathlib import Path

import pytest
from fault_steps import disturb


@pytest.mark.parametrize(
    ("scenario", "least"),
    [("wide table", 50), ("subset", 20), ("pins", 8), ("collection", 40), ("restoring", 10)],
)
def test_a_killed_builder_or_collector_leaves_a_whole_store(tmp_path: Path, scenario: str, least: int) -> None:
    assert disturb(tmp_path, scenario, how="kill").steps >= least


def test_a_checkpoint_killed_on_its_way_leaves_a_whole_store(tmp_path: Path) -> None:
    assert disturb(tmp_path, "checkpoints", how="kill", every=8).steps >= 40


def test_a_checkpoint_whose_io_fails_ends_in_a_clear_error_or_well(tmp_path: Path) -> None:
    outcome = disturb(tmp_path, "checkpoints", how="fail", every=7)
    assert outcome.errors >= outcome.survived
