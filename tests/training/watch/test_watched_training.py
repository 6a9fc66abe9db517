"""A training that is watched takes the very steps of one that is not."""

from pathlib import Path

import torch
from made_pairs import made_pairs
from torch import Tensor

from ranking.store.blobs import Store
from training.config import TrainConfig
from training.loop.training import Training
from training.models.load import load_model
from training.watch.meter import Step
from training.watch.watching import Watching

SAMPLES = {"every": 1, "prompts": ["a red star"], "images_per_prompt": 1, "inference_steps": 2}


def trained(model: Path, store: Store, folder: Path, *, watched: bool) -> tuple[list[Step], dict[str, Tensor]]:
    """Three steps with LoRA and its dropout, whose masks are drawn as it goes."""
    config = TrainConfig(
        model=str(model),
        steps=3,
        batch=4,
        warmup=0,
        device="cpu",
        learning_rate=1e-3,
        lora={"rank": 2, "dropout": 0.5},
        ema={"decay": 0.9},
        evaluation=None,
        watch={"samples": SAMPLES},
    )
    loaded = load_model(str(model), device="cpu")
    run = Training(loaded, made_pairs(loaded, config), config)
    steps = []
    with Watching(store, "0" * 16, config, folder) as watching:
        for _ in range(config.steps):
            if watched:
                with run.precision():
                    assert watching.look(loaded, run.denoiser, run.step)
            steps.append(run.advance())
            watching.record(steps[-1])
    return steps, {name: each.detach().clone() for name, each in run.denoiser.named_parameters()}


def test_samples_leave_steps_and_weights_bit_equal(store: Store, tiny_model: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    (steps, weights), (alone, untouched) = (
        trained(tiny_model, store, folder, watched=watched)
        for folder, watched in zip(folders, (True, False), strict=True)
    )
    assert steps == alone
    assert all(torch.equal(each, untouched[name]) for name, each in weights.items())
    assert len(store.list(f"runs/{'0' * 16}/samples")) == 3
