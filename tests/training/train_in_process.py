"""One of several processes that train together, as torchrun would start it: does each work of a file and writes what it
saw. For test_processes.py."""

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate.state import AcceleratorState
from made_pairs import features, made_pairs
from safetensors.torch import save_file
from torch import Tensor

from training.config import parse_config
from training.loop.launch import make_accelerator
from training.loop.training import Training
from training.models.load import load_model


def work(folder: Path, name: str, given: dict[str, Any], *, sharded: bool) -> None:
    """Train with a config, beginning from the state of another work if one is named."""
    AcceleratorState._reset_state()  # it remembers whether the process's first accelerator had shards
    with mock.patch.dict(os.environ, ACCELERATE_USE_FSDP=str(sharded).lower()):
        _work(folder, name, given)


def _work(folder: Path, name: str, given: dict[str, Any]) -> None:
    config = parse_config(given["config"])
    model = load_model(config.model, device="cpu")
    times: list[float] = []
    told = model.times

    def noted(uniform: Tensor) -> Tensor:
        times.extend(uniform.tolist())
        return told(uniform)

    model.times = noted  # type: ignore[method-assign]
    accelerator = make_accelerator(config.device)
    material = made_pairs(model, config, features=features, **given.get("material", {}))
    run = Training(model, material, config, accelerator=accelerator)
    if "from" in given:
        run.load(folder / f"{given['from']}-state")
    steps = []
    while run.step < config.steps:
        steps.append(run.advance().measured())
    run.save(folder / f"{name}-state")
    place = folder / f"{name}-{accelerator.process_index}"
    place.with_suffix(".json").write_text(json.dumps({"steps": steps, "times": times}))
    denoiser = run.assembled()
    save_file({key: each.detach().clone() for key, each in denoiser.named_parameters()}, f"{place}.safetensors")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for line in (place / "work.jsonl").read_text().splitlines():
        work(place, **json.loads(line))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
