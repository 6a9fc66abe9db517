"""The Celery task of training: done once, given up for good reasons only."""

from pathlib import Path
from typing import Any

import pytest

from ranking.errors import SourceError
from ranking.runs import plan_run, record_run_attempt, run_attempts, run_death, run_state
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training import trainer
from training.blocks import EvaluationConfig
from training.config import TrainConfig
from training.evaluation.records import list_evaluations
from training.tasks import train_run
from workers.attempts import counted_run_attempts
from workers.identity import worker_name


@pytest.fixture
def run(store: Store, subset: Subset, tiny_model: Path, tmp_path: Path) -> str:
    """A planned run of two steps with an evaluation of two images."""
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    evaluation = EvaluationConfig(
        prompts=str(tmp_path / "prompts.txt"), images_per_prompt=1, inference_steps=2, judges=("technical",)
    )
    config = TrainConfig(model=str(tiny_model), steps=2, batch=4, device="cpu", evaluation=evaluation)
    return plan_run(store, subset.ref, config.model_dump(mode="json")).run_id


def test_a_run_is_trained_and_evaluated_before_it_counts_as_done(
    store: Store, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    finish = trainer.finish_run
    monkeypatch.setattr(
        trainer, "finish_run", lambda *args: evaluated.append(len(list_evaluations(store, run))) or finish(*args)
    )
    train_run(run)
    assert run_state(store, run) == "done"
    assert evaluated == [1]
    train_run(run)
    assert len(run_attempts(store, run)) == 1


def test_a_run_that_somebody_has_in_hand_is_left_alone(store: Store, run: str) -> None:
    record_run_attempt(store, run, worker=worker_name())
    train_run(run)
    assert run_state(store, run) == "running"
    assert len(run_attempts(store, run)) == 1


def test_an_unknown_run_is_ignored(store: Store) -> None:
    train_run("0123456789abcdef")
    train_run("../../etc/passwd")


def failing_with(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("code", ["source-gone", "unreachable"])
def test_what_fails_because_of_this_machine_is_tried_again_and_does_not_count(
    code: str, store: Store, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "load_material", failing_with(SourceError("gone", code=code)))
    train_run(run)
    assert run_death(store, run) is None
    assert counted_run_attempts(store, run) == 0


def test_what_would_fail_anywhere_gives_the_run_up_and_says_why(store: Store, subset: Subset, tmp_path: Path) -> None:
    config = TrainConfig(model=str(tmp_path / "nowhere"), device="cpu")
    run = plan_run(store, subset.ref, config.model_dump(mode="json")).run_id
    train_run(run)
    assert "nowhere" in (run_death(store, run) or "")


def test_a_worker_told_to_stop_does_not_use_up_a_try(store: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "load_material", failing_with(SystemExit()))
    with pytest.raises(SystemExit):
        train_run(run)
    assert run_state(store, run) != "dead"
    assert counted_run_attempts(store, run) == 0
