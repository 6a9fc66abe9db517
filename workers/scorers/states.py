"""Reads the tensors of a checkpoint, safetensors or PyTorch's own format, without ever running code that lies in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from workers.scorers.weights import WeightsError


def load_state(path: Path, *, under: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by key, on the CPU and in the dtypes of the file.

    The format is told by the first bytes, not by the name; large files are mapped, not read. Nothing is unwrapped or
    renamed: a checkpoint that keeps its tensors under a key ("state_dict", "model") needs that key as `under`.
    WeightsError in one line for a file that is damaged, that holds a pickled model, or whose values are no tensors.
    """
    state = _tensors(path) if _is_safetensors(path) else _pickled(path)
    if under is not None:
        if not isinstance(state, dict) or under not in state:
            raise _refused(path, f"has nothing under the key {under!r}", _CHECK)
        state = state[under]
    if not isinstance(state, dict):
        raise _refused(path, f"holds a {type(state).__name__}, not tensors by name", _CONVERT)
    odd = next((key for key, value in state.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise _refused(
            path,
            f"holds a {type(state[odd]).__name__} under the key {odd!r} where a tensor is expected",
            _CHECK,
        )
    return {str(key): value for key, value in state.items()}


_AGAIN = "fetch it again with `pairsieve scorers pull`"
_CHECK = "check that it is the file of the scorer's authors"
_CONVERT = "save its state_dict() as safetensors, once, where the authors' code is installed"


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{"


def _tensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _refused(path, f"is no checkpoint, or is damaged ({error})", _AGAIN) from error


def _pickled(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(4)
    is_zip = head == b"PK\x03\x04"
    if not is_zip and head[:1] != b"\x80":
        raise _refused(path, "is no checkpoint, or is damaged", _AGAIN)
    # By its path a file is mapped, but then torch goes by the name's ending too.
    mapped = is_zip and path.suffix != ".safetensors"
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file comes out as nearly any exception
        text = " ".join(str(error).split())
        if "Unsupported" in text or "weights_only" in text.lower():
            _, _, named = text.partition("GLOBAL ")
            what = f" (it names {named.split()[0]})" if named else ""
            raise _refused(path, f"holds pickled Python objects{what}, which are not loaded", _CONVERT) from error
        raise _refused(path, f"is no checkpoint, or is damaged ({text[:120]})", _AGAIN) from error


def _refused(path: Path, what: str, hint: str) -> WeightsError:
    return WeightsError(f"the weights file {path} {what}", code="weights-unreadable", hint=hint)
