"""What to do with a checkpoint that is a single file: which pipeline reads it, told by the names of its tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

_LONGEST_HEADER = 100_000_000
_MARKS = (
    ("joint_blocks.", "StableDiffusion3Pipeline"),
    ("conditioner.embedders.", "StableDiffusionXLPipeline"),
    ("model.diffusion_model.", "StableDiffusionPipeline"),
)


def advice(path: Path) -> str:
    """The one line that turns a single-file checkpoint into a folder; what else to do where that is not known."""
    if path.suffix.lower() != ".safetensors":
        return "give a folder of safetensors as `pipeline.save_pretrained` writes it; pickled files are not opened"
    names = tensor_names(path)
    pipeline = next((pipe for mark, pipe in _MARKS if any(mark in name for name in names)), None)
    if pipeline is None:
        return "give the folder of a whole pipeline; this file holds none that is known here"
    return (
        f'convert it once: python -c "from diffusers import {pipeline} as P; '
        f"P.from_single_file('{path.name}').save_pretrained('{path.stem}')\""
    )


def tensor_names(path: Path) -> list[str]:
    """The names of a safetensors file's tensors, from its header alone; empty where it is not one."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= _LONGEST_HEADER else {}
    except (OSError, ValueError, struct.error):
        return []
    return sorted(set(header) - {"__metadata__"}) if isinstance(header, dict) else []
