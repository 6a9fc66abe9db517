"""Embeddings of images and prompts by a scorer's frozen network, rounded as the store keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ranking.errors import UsageError
from training.blocks import TOYWORLD
from workers.scorers.base import Batch, Embed, EmbeddingSpec, Floats, ScorerSpec
from workers.scorers.registry import choose
from workers.scorers.runtime import Runtime, make_runtime
from workers.scorers.trained import kept

AUTO = "auto"
_CLIPS = ("workers.scorers.clip:clip_score", "workers.scorers.clip:preference")
_WIDEST = 1280  # no CLIP of the catalogue is wider; for sizes alone


def embedding_scorer(wanted: str, model: str) -> ScorerSpec:
    """The scorer whose embedding is meant; "auto" is clip-toy for Toyworld's model and clip-l14 for others. Of a scorer
    that is a CLIP and keeps no embedding in the store, as clip-h14, its towers' own.

    Raises UnknownNameError, and UsageError for a scorer without an embedding.
    """
    if wanted == AUTO:
        wanted = "clip-toy" if model == TOYWORLD else "clip-l14"
    spec = choose(wanted)
    if spec.embedding is None and spec.factory in _CLIPS:
        spec = replace(spec, embedding=EmbeddingSpec(spec.name, "workers.scorers.clip:embeddings", _WIDEST))
    if spec.embedding is None:
        raise UsageError(f"scorer {wanted} has no embedding", hint="set method.embedding to clip-l14")
    return spec


class Embedder:
    """The embedding of a scorer that has one, loaded."""

    def __init__(self, spec: ScorerSpec, *, device: str = "auto", runtime: Runtime | None = None) -> None:
        """`runtime`, or one that suits `device`. Raises PairsieveError for weights that are not there."""
        if spec.embedding is None:
            raise ValueError(f"scorer {spec.name} has no embedding")
        module, function = spec.embedding.factory.split(":")
        self._views = spec.views
        self._embed: Embed = getattr(import_module(module), function)(spec, runtime or make_runtime(device))

    def images(self, seen: Sequence[Sequence[NDArray[Any]]]) -> Floats:
        """Of N pictures, each as the spec's views show it: float32 (N, d) of length 1 within float16."""
        return kept(self._embed(self._batch(seen, ["a picture"])).image)

    def prompts(self, texts: Sequence[str]) -> Floats:
        """Of N distinct prompts, likewise."""
        blank = Image.new("RGB", (64, 64))
        return kept(self._embed(self._batch([[view(blank) for view in self._views]], texts)).prompt)

    def _batch(self, seen: Sequence[Sequence[NDArray[Any]]], prompts: Sequence[str]) -> Batch:
        """Every image with the first prompt, and every prompt with the first image."""
        places = np.arange(max(len(seen), len(prompts)))
        return Batch(
            prompts=prompts,
            image_of=np.where(places < len(seen), places, 0),
            prompt_of=np.where(places < len(prompts), places, 0),
            images=len(seen),
            views={view: [each[number] for each in seen] for number, view in enumerate(self._views)},
        )
