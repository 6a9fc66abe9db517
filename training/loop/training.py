"""A training between its first step and its last: the weights, what moves them, and how both are put aside."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from safetensors.torch import load_file, save_file
from torch import nn

from ranking.errors import PairsieveError
from ranking.names import canonical_json, parse_json
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Order
from training.loop.steps import Step, forward, measured
from training.methods.objective import make_objective
from training.models.base import DiffusionModel


class Training:
    """Trains `model.denoiser` in place against what it was when it came. `step` is the number of the next optimiser
    step, from 0."""

    def __init__(
        self, model: DiffusionModel, material: Material, config: TrainConfig, *, accelerator: Accelerator | None = None
    ) -> None:
        self.accelerator = accelerator or Accelerator(cpu=config.device == "cpu")
        self.model, self.material, self.config = model, material, config
        self.step = 0
        self._objective = make_objective(config.method)
        # No dropout layers are active in these networks; eval() on both keeps policy and reference equal at step 0.
        self._reference = copy.deepcopy(model.denoiser).requires_grad_(False).eval()
        self._policy: nn.Module = model.denoiser.requires_grad_(True).eval()
        self._parameters = [each for each in self._policy.parameters() if each.requires_grad]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._schedule = get_scheduler("constant_with_warmup", self._optimiser, num_warmup_steps=config.warmup)
        self._order = Order(len(material), size=config.batch * config.accumulate, seed=config.seed)

    @property
    def denoiser(self) -> nn.Module:
        """What is saved, sampled and evaluated: the averaged weights where the config keeps an average."""
        return self._policy

    @contextmanager
    def reference(self) -> Iterator[nn.Module]:
        """The frozen reference, for as long as the block lasts: what the training began from."""
        yield self._reference

    def advance(self) -> Step:
        """One optimiser step over all its forward passes and processes.

        Raises PairsieveError, the weights untouched, where the loss or its gradient is not finite.
        """
        config = self.config
        rate = self._optimiser.param_groups[0]["lr"]
        visits = self._order.at(self.step)
        sums = torch.zeros(7, dtype=torch.float64)
        for start in range(0, len(visits), config.batch):
            batch = self.material.batch(visits[start : start + config.batch])
            passes = forward(self.model, self._policy, self._reference, batch, self._objective)
            outcome = self._objective.loss(passes)
            (outcome.loss / config.accumulate).backward()
            sums += measured(passes, outcome) / config.accumulate
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm))
        values = [float(value) for value in sums]
        if not math.isfinite(values[0]) or not math.isfinite(norm):
            raise PairsieveError(
                f"the loss is {values[0]} and its gradient {norm} at step {self.step}",
                code="training-diverged",
                hint="lower learning_rate or beta",
            )
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad(set_to_none=True)
        step = Step(self.step, *values, learning_rate=rate, gradient_norm=norm)
        self.step += 1
        return step

    def save(self, folder: Path) -> None:
        """The whole state as safetensors and JSON: a training that loads it goes on bit for bit on the CPU."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weights.{i}": each.detach() for i, each in enumerate(self._parameters)}
        state = self._optimiser.state_dict()
        for place, values in state["state"].items():
            tensors |= {f"optimiser.{place}.{name}": value for name, value in values.items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "state.safetensors")
        plain = {"step": self.step, "groups": state["param_groups"], "schedule": _plain(self._schedule.state_dict())}
        (folder / "state.json").write_bytes(canonical_json(plain))

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        plain = parse_json((folder / "state.json").read_bytes(), where=str(folder))
        tensors = load_file(folder / "state.safetensors")
        state: dict[int, dict[str, Any]] = {}
        with torch.no_grad():
            for key, value in tensors.items():
                kind, place, *name = key.split(".")
                if kind == "weights":
                    self._parameters[int(place)].copy_(value)
                else:
                    state.setdefault(int(place), {})[name[0]] = value
        self._optimiser.load_state_dict({"state": state, "param_groups": plain["groups"]})
        self._schedule.load_state_dict(plain["schedule"])
        self.step = plain["step"]


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {"lr_lambdas": [None]}
