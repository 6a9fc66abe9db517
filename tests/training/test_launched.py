"""What a launcher says of its processes is read before anything is looked at."""

import os
from pathlib import Path

import pytest
from command_line import pairsieve

from ranking.errors import UsageError
from training.processes import check_launched, is_first, world


def test_another_number_of_processes_than_the_launcher_started_is_refused_by_each_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before subset and store are looked at: one that went on would wait for the others."""
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        refused = pairsieve("train", "--subset", "best", "--processes", "3")
        assert refused.status == 2
        assert "the config is for 3 processes, and a launcher started 2" in refused.err
    assert not os.path.lexists(tmp_path / "store")
    check_launched(2)


def test_a_rank_that_is_left_in_a_shell_without_a_world_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "1")
    assert is_first()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_first()


def test_a_world_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two'"):
        world()
