"""Checkpoints of a training that is under way: one safetensors file, put in place by a rename, so that it is the old
one or the new one whatever is killed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Trained weights and the best ones by name, the optimiser's moments, and facts as plain JSON."""

    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    moments: dict[str, Tensor]
    facts: dict[str, Any]


def write_checkpoint(folder: Path, identity: str, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint."""
    tensors = {
        f"{group}/{name}": value.contiguous()
        for group in ("weights", "best", "moments")
        for name, value in getattr(checkpoint, group).items()
    }
    unfinished = folder / f"{FILE}.new"
    save_file(tensors, unfinished, {"identity": identity, "facts": json.dumps(checkpoint.facts)})
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(folder / FILE)


def read_checkpoint(folder: Path, identity: str) -> Checkpoint | None:
    """The folder's checkpoint if it is of this training; None where there is none, or it cannot be read."""
    try:
        with safe_open(folder / FILE, "pt") as file:
            told = file.metadata() or {}
            if told.get("identity") != identity:
                return None
            groups: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "moments": {}}
            for key in file.keys():  # noqa: SIM118 - no mapping
                group, _, name = key.partition("/")
                groups[group][name] = file.get_tensor(key)
            return Checkpoint(**groups, facts=json.loads(told["facts"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
