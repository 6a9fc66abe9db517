"""Models of gigabytes, made once: built without memory, then filled with the tensors of mapped files in the dtype they
will run in. Holds no architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from workers.scorers.states import load_state
from workers.scorers.weights import WeightsError

Model = TypeVar("Model", bound=torch.nn.Module)
Rename = Callable[[str], str | None]


def empty(make: Callable[[], Model], precision: str) -> Model:
    """What `make` builds, on the meta device and in `precision` ("bfloat16"): names, shapes and dtypes, no memory."""
    with torch.device("meta"):
        return make().to(getattr(torch, precision)).eval()


def named_state(paths: Mapping[str, Path], rename: Rename) -> dict[str, torch.Tensor]:
    """The tensors of one model's files by our names. `rename` gives a published name's own, or None for a tensor that
    is left out. WeightsError where two files hold one tensor."""
    state: dict[str, torch.Tensor] = {}
    for file, path in paths.items():
        for published, tensor in load_state(path).items():
            name = rename(published)
            if name in state:
                raise _other(file, f"holds {published}, which another file holds too")
            if name is not None:
                state[name] = tensor
    return state


def parted(
    state: Mapping[str, torch.Tensor], prefixes: Sequence[str], *, dropped: Sequence[str], what: str
) -> list[dict[str, torch.Tensor]]:
    """A checkpoint's tensors by the prefix of their keys, which is taken off: one dict for each of `prefixes`.

    A key that fully matches a pattern in `dropped` is left out; WeightsError for any other that is under no prefix.
    """
    parts: dict[str, dict[str, torch.Tensor]] = {prefix: {} for prefix in prefixes}
    for key, value in state.items():
        if any(re.fullmatch(pattern, key) for pattern in dropped):
            continue
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if prefix is None:
            raise _other(what, f"holds an unknown {key}")
        parts[prefix][key.removeprefix(prefix)] = value
    return list(parts.values())


def fill(model: Model, state: dict[str, torch.Tensor], *, what: str, device: str = "cpu") -> Model:
    """The model on a device with these tensors as its parameters, each in the parameter's dtype. `state` is emptied on
    the way, so that no tensor is held twice for long. WeightsError unless names and shapes are exactly the model's;
    buffers that are no part of a checkpoint are the caller's to make."""
    wanted = model.state_dict()
    for kind, names in (("lacks", wanted.keys() - state.keys()), ("holds an unknown", state.keys() - wanted.keys())):
        if names:
            raise _other(what, f"{kind} {min(names)}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    for name, parameter in wanted.items():
        if state[name].shape != parameter.shape:
            raise _other(what, f"holds {name} of shape {tuple(state[name].shape)}, not {tuple(parameter.shape)}")
    converted = {name: state.pop(name).to(device, parameter.dtype) for name, parameter in wanted.items()}
    model.load_state_dict(converted, strict=True, assign=True)
    return model.to(device).requires_grad_(False).eval()


def _other(file: str, what: str) -> WeightsError:
    return WeightsError(
        f"the weights {file} are of another model: the file {what}",
        code="weights-other-layout",
        hint="fetch them again with `pairsieve scorers pull`",
    )
