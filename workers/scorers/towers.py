"""CLIP towers: pictures and prompts to normalised float32 embeddings, by open_clip's models.

Blocks run in the asked precision. Pooling, projection, normalisation and everything after them is float32, because a
half-precision cosine is too coarse to tell two images of one prompt apart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import open_clip
import torch

from ranking.names import canonical_json, sha256_hex
from workers.scorers.base import ScorerSpec
from workers.scorers.layouts import State, built, filled, from_hf_clip, without_extras
from workers.scorers.prompts import PromptCache
from workers.scorers.runtime import InParts, Runtime
from workers.scorers.states import load_state
from workers.scorers.tokens import Tokenize, folder_tokens, hf_clip_tokens, open_clip_tokens, siglip2_tokens
from workers.scorers.weights import WeightsError, digest

HEAD = "aesthetic_head.safetensors"
"""The asset with a scorer's head, unless its option `head` names another."""

_TOWER_OPTIONS = ("architecture", "weights", "layout", "tokenizer", "mean", "std")
_FOLDER_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_LAYOUTS: dict[str, tuple[str | None, Callable[[State], State]]] = {
    "open_clip": (None, without_extras),
    "hf_clip": (None, from_hf_clip),
    "state_dict": ("state_dict", without_extras),
}

Encode = Callable[[torch.Tensor], torch.Tensor]

_loaded: WeakValueDictionary[str, ClipTower] = WeakValueDictionary()


@dataclass(frozen=True)
class LoadedClip:
    """A model of `layouts.filled`, its tokenizer, and mean and deviation of red, green and blue between 0 and 1."""

    model: Any
    tokenize: Tokenize
    mean: Sequence[float]
    std: Sequence[float]


class ClipTower:
    """One CLIP model with its tokenizer. Prompts it has seen lately are not encoded again."""

    def __init__(
        self,
        model: Any,
        tokenize: Tokenize,
        runtime: Runtime,
        *,
        precision: torch.dtype,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """`model` is one of `layouts.filled`; `mean` and `std` are those of red, green and blue between 0 and 1."""
        self.scale = float(model.logit_scale.detach().exp())
        encode_image = _image_encoder(model, runtime.device, precision, mean=mean, std=std)
        self._image, text = InParts(encode_image, runtime), InParts(_text_encoder(model), runtime)
        self._prompts = PromptCache(lambda prompts: text(tokenize(prompts)))

    def images(self, seen: Sequence[Any]) -> torch.Tensor:
        """Normalised float32 embeddings (n, d), on the CPU, of pictures (height, width, 3): uint8, or float32 between
        0 and 1."""
        return self._image(seen)

    def prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Normalised float32 embeddings (n, d) of prompts, on the CPU."""
        return self._prompts(prompts)


def clip_tower(spec: ScorerSpec, runtime: Runtime) -> ClipTower:
    """The tower of a spec: the one already loaded, where another scorer that is still in use has the same files, the
    same options of the tower, precision and runtime.

    With the option `architecture` (a model config of open_clip by name) the tower is described by the options:
    `weights` (the ending of its file's name), `layout` ("open_clip", "hf_clip", or "state_dict": open_clip's keys under
    that key), `tokenizer` ("open_clip", "hf_clip", "siglip2"), `mean` and `std`. Without, the assets are a folder in
    open_clip's `local-dir:` layout.
    """
    options = dict(spec.options)
    head = options.get("head", HEAD)
    files = [[asset.name, digest(asset)] for asset in spec.assets if not asset.name.endswith(head)]
    described = {name: options[name] for name in _TOWER_OPTIONS if name in options}
    config = _config(options["architecture"]) if "architecture" in options else None
    key = sha256_hex(canonical_json([files, described, config, spec.precision, repr(runtime)]))
    tower = _loaded.get(key)
    if tower is None:
        try:
            tower = _tower(spec, runtime)
        except WeightsError as error:
            raise WeightsError(f"scorer {spec.name}: {error.message}", code=error.code, hint=error.hint) from error
        _loaded[key] = tower
    return tower


def _tower(spec: ScorerSpec, runtime: Runtime) -> ClipTower:
    precision = getattr(torch, spec.precision)
    found = load_clip(spec, precision=precision, device=runtime.device)
    return ClipTower(found.model, found.tokenize, runtime, precision=precision, mean=found.mean, std=found.std)


def load_clip(spec: ScorerSpec, *, precision: torch.dtype, device: str) -> LoadedClip:
    """The model of a spec (see `clip_tower`) with its blocks in `precision`, frozen, and what must be done to its
    inputs; no encoder around it. WeightsError for files that do not fit."""
    load = _by_options if "architecture" in dict(spec.options) else _of_folder
    return load(spec, precision, device)


def _config(architecture: str) -> dict[str, Any]:
    config: dict[str, Any] | None = open_clip.get_model_config(architecture)
    if config is None:
        raise ValueError(f"open_clip has no model config {architecture!r}")
    return config


def _by_options(spec: ScorerSpec, precision: torch.dtype, device: str) -> LoadedClip:
    config = _config(spec.option("architecture"))
    under, renamed = _LAYOUTS[spec.option("layout")]
    state = renamed(load_state(spec.path(spec.option("weights")), under=under))
    model = filled(built(config), state, precision=precision, device=device)
    context = config["text_cfg"]["context_length"]
    tokenize = {
        "open_clip": lambda: open_clip_tokens(context),
        "hf_clip": lambda: hf_clip_tokens(spec.path("vocab.json"), spec.path("merges.txt"), context),
        "siglip2": lambda: siglip2_tokens(spec.path("tokenizer.json"), context),
    }[spec.option("tokenizer")]()
    return LoadedClip(model, tokenize, spec.option("mean"), spec.option("std"))


def _of_folder(spec: ScorerSpec, precision: torch.dtype, device: str) -> LoadedClip:
    described = spec.path("open_clip_config.json")
    config = json.loads(described.read_text())
    (weights,) = (asset.name for asset in spec.assets if asset.name.endswith(_FOLDER_WEIGHTS))
    state = without_extras(load_state(spec.path(weights)))
    model = filled(built(config["model_cfg"]), state, precision=precision, device=device)
    with _quiet_root_logger():
        tokenize = folder_tokens(described.parent)
    seen = config["preprocess_cfg"]
    return LoadedClip(model, tokenize, seen["mean"], seen["std"])


# Encoders do not know their tower: a cycle would keep it in memory after its last scorer is gone.
def _image_encoder(
    model: Any, device: str, precision: torch.dtype, *, mean: Sequence[float], std: Sequence[float]
) -> Encode:
    centre = torch.tensor(mean, device=device).view(1, 3, 1, 1)
    spread = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        # In torchvision's order of steps, which decides the last bit.
        pixels = pictures.permute(0, 3, 1, 2)
        pixels = pixels / 255 if pixels.dtype == torch.uint8 else pixels
        return _unit(model.encode_image(((pixels - centre) / spread).to(precision)))

    return encode


def _text_encoder(model: Any) -> Encode:
    return lambda ids: _unit(model.encode_text(ids))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    vectors = vectors.float()
    return vectors / vectors.norm(dim=-1, keepdim=True)


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip tells its steps to the root logger, which then gets a handler of its own and says all twice."""
    root, before, silence = logging.getLogger(), logging.root.manager.disable, logging.NullHandler()
    root.addHandler(silence)
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(silence)
