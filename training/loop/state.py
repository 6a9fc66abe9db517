"""The state of a training as files: tensors as safetensors, numbers as JSON. What it holds is whole, whether or not the
weights are sharded over processes, so that a run may go on with another number of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ranking.errors import PairsieveError
from ranking.names import canonical_json

NUMBERS = "state.json"
LARGEST = 4 * 10**9
"""Bytes of tensors in a file: a bucket takes 5 GiB at once."""


@dataclass(frozen=True)
class State:
    """`tensors` by name ("weights/…", "average/…", "optimiser/<weight>/<what>"), on the CPU where it was read or is to
    be written; `numbers` are plain JSON."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def of(self, kind: str) -> dict[str, Tensor]:
        """The tensors of a kind, by what stands after it in their names."""
        return {name[len(kind) + 1 :]: value for name, value in self.tensors.items() if name.startswith(f"{kind}/")}


def write(state: State, folder: Path, *, largest: int = LARGEST) -> None:
    """Into a folder, which is made: tensors in files of at most `largest` bytes of them each, more only where a single
    tensor is larger, and what names these files last."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = _parts(state.tensors, largest)
    names = [f"state-{number:05}-of-{len(parts):05}.safetensors" for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name)
    (folder / NUMBERS).write_bytes(canonical_json({"files": names, "numbers": state.numbers}))


def read(folder: Path) -> State:
    """What `write` wrote. Raises PairsieveError where a file is missing or damaged."""
    try:
        record = json.loads((folder / NUMBERS).read_bytes())
        tensors: dict[str, Tensor] = {}
        for name in record["files"]:
            tensors |= load_file(folder / name)
        return State(tensors, record["numbers"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise PairsieveError(
            f"the state in {folder} cannot be read ({error})",
            code="checkpoint-unreadable",
            hint="go on from an earlier checkpoint",
        ) from error


def _parts(tensors: Mapping[str, Tensor], largest: int) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = []
    room = 0
    for name in sorted(tensors):
        size = tensors[name].nbytes
        if not parts or size > room:
            parts.append({})
            room = largest
        parts[-1][name] = tensors[name]
        room -= size
    return parts


def whole(tensor: Tensor) -> Tensor:
    """A tensor's values on the CPU in memory of their own, put together where they are sharded (then every process must
    call this)."""
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to("cpu", copy=True).contiguous()


def like(value: Tensor, model: Tensor) -> Tensor:
    """`value` on the device of `model`, sharded as it is if the shapes agree."""
    if isinstance(model, DTensor) and value.shape == model.shape:
        return distribute_tensor(value.to(model.device), model.device_mesh, model.placements)
    return value.to(model.device)


def put(values: Mapping[str, Tensor], into: Mapping[str, Tensor], *, where: Path) -> None:
    """Copy values by name. Raises PairsieveError where names or shapes differ, before anything is changed."""
    other = sorted(set(values) ^ set(into)) or sorted(
        name for name, value in values.items() if value.shape != into[name].shape
    )
    if other:
        raise PairsieveError(
            f"the state in {where} is of another model or config: {other[0]} and {len(other) - 1} more do not fit",
            code="checkpoint-mismatch",
            hint="go on with the config that it was made with",
        )
    with torch.no_grad():
        for name, value in values.items():
            into[name].copy_(like(value, into[name]))


def optimiser_state(
    optimiser: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """What an optimiser remembers of each weight: tensors under "<weight>/<what>", and plain numbers."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for name, weight in weights.items():
        for what, value in optimiser.state.get(weight, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{what}"] = whole(value)
            else:
                numbers.setdefault(name, {})[what] = value
    return tensors, numbers


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    weights: Mapping[str, nn.Parameter],
    *,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Mapping[str, Any]],
) -> None:
    """Put back what `optimiser_state` gave; the rates of its groups stay as they are."""
    places = {
        id(each): i for i, each in enumerate(each for group in optimiser.param_groups for each in group["params"])
    }
    state: dict[int, dict[str, Any]] = {
        places[id(weights[name])]: dict(values) for name, values in numbers.items() if name in weights
    }
    for key, value in tensors.items():
        name, _, what = key.rpartition("/")
        if name in weights:
            state.setdefault(places[id(weights[name])], {})[what] = like(value, weights[name])
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
