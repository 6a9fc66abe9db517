"""What a scorer is: a spec that names its weights and its code, and a batch that shares work between scorers.

Specs are data and load no model; `registry` turns them into a committee. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ranking.names import canonical_json, sha256_hex

Floats = NDArray[np.float32]
Made = TypeVar("Made")


@dataclass(frozen=True)
class ScorerSpec:
    """One scorer of the registry.

    `factory` is "module:function", called as `function(spec, device)` when the scorer is first needed and
    returning a `ScoreBatch`. `tower` is a folder in open_clip's `local-dir:` layout, `head` a safetensors file;
    both are hashed into the fingerprint, as are `options`, `precision` and `code_version` (raise it whenever the
    code gives other numbers than before).
    """

    name: str
    summary: str
    factory: str
    tower: Path | None = None
    head: Path | None = None
    options: tuple[tuple[str, Any], ...] = ()
    precision: str = "float32"
    code_version: int = 1
    licence: str = "Apache-2.0"

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file that decides the score; empty for a scorer without weights."""
        found = sorted(p for p in self.tower.rglob("*") if p.is_file()) if self.tower else []
        return tuple(found + ([self.head] if self.head else []))

    @property
    def missing(self) -> tuple[Path, ...]:
        """Weights that the spec names and the disk does not have."""
        wanted = [path for path in (self.tower, self.head) if path is not None]
        return tuple(path for path in wanted if not path.exists())

    @cached_property
    def scorer_id(self) -> str:
        """`name@fingerprint`: other weights, preprocessing, tokenizer, precision or code give another scorer."""
        content = {
            "factory": self.factory,
            "files": [[path.name, sha256_hex(path.read_bytes())] for path in self.files],
            "options": [[key, value] for key, value in self.options],
            "precision": self.precision,
            "code_version": self.code_version,
        }
        return f"{self.name}@{sha256_hex(canonical_json(content))[:12]}"


@dataclass
class Batch:
    """Images (RGB) and prompts of equal length, and what the scorers have already computed of them."""

    images: Sequence[Image.Image]
    prompts: Sequence[str]
    _shared: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.prompts):
            raise ValueError(f"{len(self.images)} images but {len(self.prompts)} prompts")

    def share(self, key: str, make: Callable[[], Made]) -> Made:
        """The value that `make` gives, computed once per batch: one tower pass serves every head."""
        if key not in self._shared:
            self._shared[key] = make()
        value: Made = self._shared[key]
        return value


ScoreBatch = Callable[[Batch], Floats]
"""Scores of a batch: float32 of shape (len(batch.images),); NaN where the scorer has no answer."""
