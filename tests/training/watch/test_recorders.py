"""What recorders leave on disk, and that a tracker that fails ends nothing."""

import json
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from made_steps import steps
from PIL import Image

from ranking.errors import PairsieveError
from training.watch.recorders import Guarded, JsonLines, TensorBoard, Tracker, recorded, trackers

GRID = Image.new("RGB", (40, 30), "red")


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_metrics_jsonl_is_whole_after_each_step_and_has_no_nan(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path)
    for number, record in enumerate(steps(3, lambda n: {"kl_proxy": None})):
        lines.record(record)
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == number + 1
    lines.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[2])["kl_proxy"] is None


def test_what_is_recorded_of_a_checkpoint_ends_before_its_step(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path)
    for record in steps(5):
        lines.record(record)
    lines.close()
    assert [record["step"] for record in recorded(tmp_path, before=3)] == [0, 1, 2]
    assert recorded(tmp_path / "nowhere", before=3) == []


def test_tensorboard_reads_the_curves_and_the_samples(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    for record in steps(3, lambda n: {"loss": 0.5 - 0.1 * n}):
        board.record(record)
    board.picture(2, GRID, "a red star")
    board.close()
    found = events(tmp_path / "tensorboard")
    assert [(each.step, round(each.value, 6)) for each in found.Scalars("loss")] == [(0, 0.5), (1, 0.4), (2, 0.3)]
    assert {"winner_change_by_time/00", "winner_change_by_time/01", "loser_change_by_time/00"} <= set(
        found.Tags()["scalars"]
    )
    # The second range of time has no loser change in these steps.
    assert "loser_change_by_time/01" not in found.Tags()["scalars"]
    (picture,) = found.Images("samples")
    assert (picture.width, picture.height) == GRID.size


class Broken:
    """A tracker whose service is gone."""

    def __init__(self) -> None:
        self.heard = 0

    def record(self, record: Any) -> None:
        self.heard += 1
        raise ConnectionError("no route to host")

    def picture(self, step: int, grid: Any, caption: str) -> None:
        raise AssertionError("it was left out before")

    def close(self) -> None:
        raise AssertionError("it was left out before")


def test_a_tracker_that_fails_is_said_once_and_then_left_out(caplog: pytest.LogCaptureFixture) -> None:
    inner = Broken()
    guarded = Guarded("wandb", inner)
    with caplog.at_level(logging.WARNING):
        for record in steps(3):
            guarded.record(record)
        guarded.picture(3, GRID, "")
        guarded.close()
    assert inner.heard == 1
    assert [each.getMessage() for each in caplog.records] == [
        "wandb is left out from now on: ConnectionError: no route to host"
    ]


def test_a_tracker_that_cannot_be_reached_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = ModuleType("trackio")

    def refuse(**_: Any) -> None:
        raise OSError("no network")

    package.init = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", package)
    with caplog.at_level(logging.WARNING):
        assert trackers({"wandb": None, "trackio": "mine"}, run_id="0" * 16, config={}) == []
    assert "trackio is left out: OSError: no network" in caplog.text


def test_a_tracker_that_is_not_installed_is_one_line_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(PairsieveError, match=r"watch\.trackio is set and trackio is not installed.*pip install"):
        trackers({"trackio": "mine"}, run_id="0" * 16, config={})


def test_wandb_writes_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = Tracker("wandb", "pairsieve", run_id="f" * 16, config={"steps": 2})
    for record in steps(2):
        tracker.record(record)
    tracker.picture(2, GRID, "a red star")
    tracker.close()
    (kept,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"implicit_accuracy" in kept.read_bytes()
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/samples_*.png"))
