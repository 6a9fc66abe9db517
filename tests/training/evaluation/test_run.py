"""Win rates, their intervals, and evaluations that are kept."""

from pathlib import Path

import numpy as np
import pytest

from ranking.errors import NotFoundError, UsageError
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.blocks import EvaluationConfig
from training.config import TrainConfig
from training.evaluation.prompts import read_prompts
from training.evaluation.run import evaluate
from training.evaluation.winrates import win_rate
from training.models.sd import StableDiffusion
from training.trainer import train

SETTINGS = EvaluationConfig(images_per_prompt=2, inference_steps=2, judges=("technical",))


def test_a_win_is_one_a_tie_one_half_a_loss_nothing() -> None:
    base = np.zeros(4, np.float32)
    run = np.array([1, -1, 0.01, 0.5], np.float32)
    rate = win_rate("judge", base, run, ["a", "a", "b", "b"], margin=0.02)
    assert (rate.wins, rate.ties, rate.losses) == (2, 1, 1)
    assert rate.rate == pytest.approx(2.5 / 4)
    assert rate.mean_run - rate.mean_base == pytest.approx(0.1275)


def test_the_interval_holds_the_rate_and_is_repeatable() -> None:
    generator = np.random.default_rng(0)
    base, run = generator.normal(0, 1, 200), generator.normal(0.3, 1, 200)
    prompts = [f"prompt {i % 25}" for i in range(200)]
    first = win_rate("judge", base.astype(np.float32), run.astype(np.float32), prompts)
    assert first.low < first.rate < first.high
    assert first == win_rate("judge", base.astype(np.float32), run.astype(np.float32), prompts)


def test_images_of_one_prompt_are_not_independent_evidence() -> None:
    # Ten prompts, each all wins or all losses: forty images say no more than ten do.
    credit = np.repeat([1.0, -1.0] * 5, 4).astype(np.float32)
    zero = np.zeros(40, np.float32)
    grouped = win_rate("judge", zero, credit, [f"p{i // 4}" for i in range(40)])
    apart = win_rate("judge", zero, credit, [f"p{i}" for i in range(40)])
    assert grouped.high - grouped.low > 1.5 * (apart.high - apart.low)


def test_the_bootstrap_covers_the_truth_about_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(1)
    prompts = [f"p{i}" for i in range(40)]
    hits = 0
    for _ in range(200):
        run = np.where(generator.random(40) < 0.7, 1.0, -1.0).astype(np.float32)
        rate = win_rate("judge", np.zeros(40, np.float32), run, prompts)
        hits += rate.low <= 0.7 <= rate.high
    assert 0.86 <= hits / 200 <= 0.99


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


def test_prompts_come_from_a_file_without_blanks_and_repeats(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n  \ntwo \none\n")
    assert read_prompts(str(tmp_path / "p.txt")) == ["one", "two"]
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("empty.txt", "absent.txt"):
        with pytest.raises(UsageError, match=name.split(".", maxsplit=1)[0]):
            read_prompts(str(tmp_path / name))
