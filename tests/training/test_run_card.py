"""A run leaves a model card beside its weights, and both load."""

from pathlib import Path

import pytest

from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.config import parse_config
from training.models.load import load_model
from training.trainer import train


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_run_leaves_its_card_beside_what_diffusers_loads(
    lora: dict[str, int] | None, store: Store, subset: Subset, tiny_model: Path
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
    if lora:
        assert (folder / "pytorch_lora_weights.safetensors").is_file()
    else:
        assert load_model(str(folder), device="cpu").family == "sd"
