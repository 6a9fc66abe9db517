"""A run's hours follow from counted operations and the speed of a trial on its device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.config import parse_config
from training.intent import Intent, expected_hours, look
from training.loop import hours
from training.models.describe import describe


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that takes a second for an operation, and three where a backward pass follows."""
    monkeypatch.setattr(hours, "_speed", lambda *_, **__: hours._Speed(forward=1.0, trained=3.0))


def values(**more: Any) -> dict[str, Any]:
    return {"device": "cpu", "batch": 4, "steps": 3, "warmup": 0, "evaluation": None} | more


@pytest.fixture
def intent(store: Store, subset: Subset, tiny_model: Path) -> Intent:
    return look(store, subset.ref, parse_config(values(model=str(tiny_model))))


def found(intent: Intent, **more: Any) -> hours.Hours:
    told = expected_hours(replace(intent, config=parse_config(values(model=intent.config.model, **more))))
    assert told is not None
    return told


@pytest.mark.usefixtures("steady")
def test_a_step_is_its_passes(intent: Intent) -> None:
    def step(**more: Any) -> float:
        return found(intent, **more).step

    forward = step() / (8 * 4)  # of an image; of four pairs policy and reference, the policy's with a backward pass
    assert forward == int(forward) > 1e5
    assert step(cache={"reference_draws": 2}) == 8 * 3 * forward
    assert step(gradient_checkpointing=True) == 8 * 5 * forward
    assert step(method="sft") == 4 * 3 * forward, "winners alone, and no reference"
    assert step(accumulate=3) == 3 * step()
    assert step(method="kto", accumulate=3) == 3 * 8 * 5 * forward, "gradient caching passes twice"
    assert step(cache={"latents": False}) > step(cache={"prompts": False}) > step()


@pytest.mark.usefixtures("steady")
def test_a_run_is_its_caches_steps_and_drawings(intent: Intent, tmp_path: Path) -> None:
    plain = found(intent)
    assert (plain.training, plain.evaluation) == (3 * plain.step, 0)
    assert plain.total == plain.caches + plain.training

    kept = found(intent, cache={"reference_draws": 2})
    assert kept.caches - plain.caches == 2 * len(intent.rows) * 2 * plain.step / (8 * 4)
    assert found(intent, cache={"latents": False, "prompts": False}).caches == 0

    (tmp_path / "prompts.txt").write_text("a cat\na dog\na bird\n")
    asked = {"prompts": str(tmp_path / "prompts.txt"), "images_per_prompt": 5, "inference_steps": 10}
    drawn = [found(intent, evaluation=asked | {"guidance": guidance}).evaluation for guidance in (1.0, 3.0)]
    # Fifteen images of the base and as many of the run; guidance has ten passes more for each.
    assert drawn[1] - drawn[0] == 2 * 15 * 10 * plain.step / (8 * 4)
    watched = found(intent, watch={"samples": {"every": 2}})
    assert watched.training > plain.training


@pytest.mark.parametrize("family", ["tiny_model", "tiny_sdxl", "tiny_sd3"])
def test_the_trial_runs_on_a_whole_and_on_a_part(
    intent: Intent, family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = describe(str(request.getfixturevalue(family)))
    monkeypatch.setattr(hours, "_TOO_LONG", 1e-9)
    for weights, more in ((1e9, {}), (0, {"lora": {"rank": 2}, "precision": "bf16"})):
        monkeypatch.setattr(hours, "_WHOLE", weights)
        told = found(replace(intent, description=base), **more)
        assert 0 < told.step < 60 and told.training == 3 * told.step
