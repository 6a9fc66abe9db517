"""docs/public-bugs.md names tests that there are, and those bugs of public trainers that belong to no one room."""

import ast
import re
from pathlib import Path

import pytest

from ranking.checkpoints import list_checkpoints
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.config import parse_config
from training.loop.stops import StoppedError
from training.trainer import train

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "public-bugs.md").read_text())
    rows = (ROOT / "docs" / "public-bugs.md").read_text().count("\n| ") - 1
    assert len(named) == rows, "a row names one test"
    missing = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (ROOT / path).read_text()]
    assert not missing


def test_xformers_and_wandb_no_optional_package_is_imported_before_it_is_asked_for() -> None:
    """DiffusionDPO raises without xformers, diffusers' DPO and MaPO's scripts import wandb whatever logs."""
    optional = {"xformers", "wandb", "trackio", "bitsandbytes"}
    at_once = {
        f"{path.relative_to(ROOT)}: {name}"
        for floor in ("training", "service", "workers")
        for path in (ROOT / floor).rglob("*.py")
        for node in ast.parse(path.read_text()).body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.partition(".")[0] in optional
    }
    assert not at_once


def test_resume_latest_a_run_with_another_config_takes_nothing_of_it(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    """Public scripts resume "latest" in whatever folder they write to; here a run is its config, and goes on only as
    itself."""

    def config(**more: object) -> dict[str, object]:
        values = {"model": str(tiny_model), "steps": 2, "batch": 2, "device": "cpu", "evaluation": None}
        return parse_config(values | {"checkpoints": {"every": 1}} | more).model_dump(mode="json")

    cut = plan_run(store, subset.ref, config())
    answers = iter((False, True))  # before the first pass, and after it
    with pytest.raises(StoppedError, match="before step 1 of 2"):
        train(store, cut.run_id, stop=lambda: next(answers))
    assert list_checkpoints(store, cut.run_id)
    other = plan_run(store, subset.ref, config(learning_rate=1e-3))
    assert other.run_id != cut.run_id
    assert train(store, other.run_id).resumed == 0
    assert train(store, cut.run_id).resumed == 1, "and the run itself does go on"
