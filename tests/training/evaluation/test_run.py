"""Win rates, their intervals, and evaluations that are kept."""

from pathlib import Path

import pytest

from ranking.errors import NotFoundError
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.blocks import EvaluationConfig
from training.config import TrainConfig
from training.evaluation.run import evaluate
from training.models.sd import StableDiffusion
from training.trainer import train

SETTINGS = EvaluationConfig(images_per_prompt=2, inference_steps=2, judges=("technical",))


def test_an_evaluation_is_made_once_and_the_base_is_drawn_once_for_all_runs(
    store: Store, subset: Subset, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\na dog\n")
    settings = SETTINGS.model_copy(update={"prompts": str(tmp_path / "prompts.txt")})
    drawn: list[str] = []
    sample = StableDiffusion.sample
    monkeypatch.setattr(
        StableDiffusion, "sample", lambda self, unet, *a, **k: drawn.append("x") or sample(self, unet, *a, **k)
    )
    found = []
    for seed in (0, 1):
        config = TrainConfig(
            model=str(tiny_model),
            steps=2,
            batch=4,
            learning_rate=0.05,
            warmup=0,
            seed=seed,
            device="cpu",
            evaluation=None,
        )
        run = plan_run(store, subset.ref, config.model_dump(mode="json")).run_id
        train(store, run)
        found.append(evaluate(store, run, settings, device="cpu"))
        assert evaluate(store, run, settings, device="cpu") == found[-1]
    assert len(drawn) == 3  # the base once, each run once
    assert found[0].base_samples == found[1].base_samples
    assert found[0].run_samples != found[1].run_samples
    assert (found[0].prompts, found[0].images) == (2, 4)
    (judge,) = found[0].judges
    assert judge.wins + judge.ties + judge.losses == 4
    assert 0 <= judge.low <= judge.rate <= judge.high <= 1


def test_a_run_that_is_not_done_cannot_be_evaluated(store: Store, subset: Subset, tiny_model: Path) -> None:
    run = plan_run(store, subset.ref, TrainConfig(model=str(tiny_model)).model_dump(mode="json")).run_id
    with pytest.raises(NotFoundError, match="not done"):
        evaluate(store, run, SETTINGS)
