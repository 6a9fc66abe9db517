"""What a run of some config reads of the caches, on a tiny model and a tiny subset."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.caches.provide import Round, load_material
from training.config import TrainConfig, parse_config
from training.data.material import Material
from training.data.pairs import from_store
from training.models.base import Conditioning, DiffusionModel
from training.models.load import load_model


@dataclass
class Counted:
    """How many pictures and prompts a model encoded, and how often its denoiser ran."""

    pictures: int = 0
    prompts: int = 0
    passes: int = 0
    of: dict[str, int] = field(default_factory=dict)

    def take(self) -> tuple[bool, bool, bool]:
        """Whether anything of each was done since the last time."""
        found = (self.pictures > 0, self.prompts > 0, self.passes > 0)
        self.pictures = self.prompts = self.passes = 0
        return found


def config_of(model: Path, **values: Any) -> TrainConfig:
    """A config on the CPU; blocks as maps."""
    return parse_config({"model": str(model), "device": "cpu", "batch": 4, "evaluation": None, **values})


def counting(model: DiffusionModel) -> Counted:
    """Count what this model does from now on. A full batch counts as what it holds, fillers too."""
    counted = Counted()
    pixels, prompts = model.encode_pixels, model.encode_prompts

    def encode_pixels(each: Any) -> Any:
        counted.pictures += len(each)
        return pixels(each)

    def encode_prompts(each: Any) -> Conditioning:
        counted.prompts += len(each)
        return prompts(each)

    def ran(*_: Any) -> None:
        counted.passes += 1

    model.encode_pixels = encode_pixels  # type: ignore[method-assign]
    model.encode_prompts = encode_prompts  # type: ignore[method-assign]
    model.denoiser.register_forward_hook(ran)
    return counted


def material_of(
    store: Store,
    subset: Subset,
    config: TrainConfig,
    *,
    model: DiffusionModel | None = None,
    way: Callable[..., Round] = Round,
) -> Material:
    """The material of a run, as the trainer loads it."""
    return load_material(from_store(store, subset), model or load_model(config.model, device="cpu"), config, way=way())
