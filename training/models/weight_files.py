"""Which files of a folder are a part's weights: safetensors, whole or in shards, in full precision where it can be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.models.sources import Source

_STEMS = ("diffusion_pytorch_model", "model")
_VARIANTS = (None, "fp16", "bf16")


@dataclass(frozen=True)
class WeightFiles:
    """The files of one variant (None: full precision), and the index of shards."""

    paths: tuple[Path, ...] = ()
    variant: str | None = None
    index: Path | None = None

    def plain(self, text: str) -> str:
        """A file name, or an index's text, without the variant."""
        return text if self.variant is None else text.replace(f".{self.variant}", "")


def weight_files(folder: Path) -> WeightFiles:
    """The weights in a folder; no paths where there are none (or some of the shards are missing)."""
    for variant in _VARIANTS:
        for stem in _STEMS:
            middle = f".{variant}" if variant else ""
            whole = folder / f"{stem}{middle}.safetensors"
            if whole.is_file():
                return WeightFiles((whole,), variant)
            index = folder / f"{stem}.safetensors.index{middle}.json"
            if index.is_file():
                shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
                paths = tuple(folder / shard for shard in shards)
                if all(path.is_file() for path in paths):
                    return WeightFiles(paths, variant, index)
    return WeightFiles()


def fetch_weights(source: Source, parts: list[str]) -> None:
    """See that the weights of these parts ("" for the folder itself) are in place; nothing is fetched twice, and of the
    variants on the hub only the first that there is."""
    for variant in _VARIANTS:
        wanted = [part for part in parts if not weight_files(source.folder / part).paths]
        if not wanted or source.repo is None:
            return
        middle = f".{variant}" if variant else ""
        stems = [f"{part}/{stem}" if part else stem for part in wanted for stem in _STEMS]
        source.fetch([f"{stem}{middle}{end}" for stem in stems for end in (".safetensors", "-*.safetensors")])
