"""A run leaves a model card beside its weights, and both load."""

from pathlib import Path

import pytest
from command_line import pairsieve

from ranking.audit import audit
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.blocks import EvaluationConfig
from training.config import parse_config
from training.evaluation.run import evaluate
from training.models.load import load_model
from training.trainer import train


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_run_leaves_its_card_beside_what_diffusers_loads(
    lora: dict[str, int] | None,
    store: Store,
    subset: Subset,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = parse_config(
        {
            "model": str(tiny_model),
            "steps": 1,
            "batch": 2,
            "device": "cpu",
            "lora": lora,
            "evaluation": None,
            "learning_rate": 0.01,
            "scale_learning_rate": "linear",
            "reference_batch": 20,
        }
    )
    run = plan_run(store, subset.ref, config.model_dump(mode="json"))
    result = train(store, run.run_id)
    folder = store.local_folder(result.output)
    card = (folder / "README.md").read_text()
    for told in (
        run.run_id,
        f"`{subset.ref}`",
        subset.sha256,
        result.model_fingerprint,
        "0.001, adamw",  # what the steps took, not what it was scaled from
        "load_lora" if lora else "folder",
    ):
        assert told in card
    assert str(tiny_model.parent) not in card
    assert "has not been compared" in card
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\na dog\n")
    settings = EvaluationConfig(
        prompts=str(prompts), images_per_prompt=1, inference_steps=1, judges=("technical",), diversity=None
    )
    monkeypatch.setattr("training.evaluation.run.selecting_scorers", lambda *_: frozenset({"technical"}))
    judged = evaluate(store, run.run_id, settings, device="cpu").judges[0]
    # What lies in the store stays as it is; the card of today knows of the evaluation, and that the judge is circular.
    assert (folder / "README.md").read_text() == card
    told = pairsieve("--store", store.workspace, "runs", run.run_id, "--card", tmp_path / "card.md")
    assert told.status == 0, told.err
    newer = (tmp_path / "card.md").read_text()
    assert f"| `technical` (circular) | {judged.rate:.1%} |" in newer and "| 2 | 2 |" in newer
    assert "no independent one" in newer and "has not been compared" not in newer
    assert audit(store, now=None).ok
    if lora:
        assert (folder / "pytorch_lora_weights.safetensors").is_file()
    else:
        assert load_model(str(folder), device="cpu").family == "sd"
