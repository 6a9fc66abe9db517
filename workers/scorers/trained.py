"""Scorers that were trained here and live in the store: their specs, made from what the store records, and the head
that reads another scorer's embeddings. Nothing that a record says is run: its `kind` picks code of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ranking.errors import StoreError
from ranking.trained import TrainedFile, TrainedScorer, get_trained, trained_names, trained_versions
from workers.scorers.base import Batch, Cost, Embed, Floats, ScoreBatch, ScorerSpec, View
from workers.scorers.weights import Asset, WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from ranking.store.blobs import Store
    from workers.scorers.runtime import Runtime

HEAD_FILE = "preference_head.safetensors"
CLIP, HEAD = "clip", "head"
KINDS = (CLIP, HEAD)
_VIEWS = "workers.scorers.views:"
HEADS = ("linear", "bilinear", "mlp")

Choose = Callable[[str], ScorerSpec]
"""`registry.choose` with the store at hand, for the scorer that a head stands on."""


def trained_specs(store: Store, choose: Choose) -> dict[str, ScorerSpec]:
    """The newest version of every scorer that the store has, by name. Files of a bucket are fetched once."""
    return {name: stored_spec(store, get_trained(store, name), choose) for name in trained_names(store)}


def trained_spec(store: Store, name: str, choose: Choose) -> ScorerSpec | None:
    """The newest version of one, or None."""
    return stored_spec(store, get_trained(store, name), choose) if trained_versions(store, name) else None


def find_trained(store: Store, scorer_id: str, choose: Choose) -> ScorerSpec | None:
    """The version, in the precision, that has this id; None if there is none. Newest first."""
    name = scorer_id.partition("@")[0]
    for version in reversed(trained_versions(store, name)):
        spec = stored_spec(store, get_trained(store, name, version=version), choose)
        for each in (spec.at(word) for word in spec.precisions):
            if not each.missing and each.scorer_id == scorer_id:
                return each
    return None


def stored_spec(store: Store, trained: TrainedScorer, choose: Choose) -> ScorerSpec:
    """The spec of a version that the store has."""
    return spec_of(trained, lambda file: store.local(trained.key(file)), choose)


def spec_of(trained: TrainedScorer, local: Callable[[TrainedFile], Path], choose: Choose) -> ScorerSpec:
    """The spec of a version, its files where `local` says. StoreError for a kind that this Pairsieve does not know."""
    assets = tuple(
        Asset(f"{trained.name}/{file.name}", sha256=file.sha256, bytes=file.bytes, path=local(file))
        for file in trained.files
    )
    if trained.kind == CLIP:
        return ScorerSpec(
            name=trained.name,
            summary=trained.summary,
            factory="workers.scorers.clip:preference",
            views=(_view(trained),),
            assets=assets,
            options=tuple(sorted((key, _hashable(value)) for key, value in trained.options["tower"].items())),
            code_version=trained.code_version,
            weights_licence="yours",
            range="open; differences are logits",
            cost=Cost(parameters=int(trained.facts.get("parameters", 0))),
        )
    if trained.kind == HEAD:
        return _head_spec(trained, assets, choose)
    raise StoreError(
        f"{trained.ref} is of a kind {trained.kind!r} that this Pairsieve does not know",
        code="unknown-kind",
        hint="install a newer one",
    )


def _head_spec(trained: TrainedScorer, assets: tuple[Asset, ...], choose: Choose) -> ScorerSpec:
    spec = ScorerSpec(
        name=trained.name,
        summary=trained.summary,
        factory="workers.scorers.trained:preference_head",
        assets=assets,
        code_version=trained.code_version,
        weights_licence="yours",
        range="open; differences are logits",
    )
    try:
        base = choose(trained.base)
    except WeightsError:
        # Not here in these weights: the spec says so by a file that is missing, as any other scorer's does.
        return replace(spec, assets=(*assets, Asset(f"{trained.base}/the scorer it stands on")))
    assert base.embedding is not None  # trained on it
    return replace(
        spec,
        views=base.views,
        assets=(*base.assets, *assets),
        precision=base.precision,
        precisions=base.precisions,
        cost=base.cost,
        options=(
            ("head", trained.options["head"]),
            ("embed", base.embedding.factory),
            ("base_options", tuple(base.options)),
            ("base_code_version", base.code_version),
        ),
    )


def preference_head(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """A small head on another scorer's embeddings (see `head_scores`), which are rounded to float16 first: so a score
    is the same whether the embedding was kept or computed now. The towers are the base's, shared with it in a batch."""
    import torch
    from safetensors.torch import load_file

    state = {name: value.float() for name, value in load_file(spec.path(HEAD_FILE)).items()}
    base = replace(
        spec,
        assets=tuple(asset for asset in spec.assets if not asset.name.endswith(HEAD_FILE)),
        options=spec.option("base_options"),
    )
    module, function = spec.option("embed").split(":")
    embed: Embed = getattr(import_module(module), function)(base, runtime)
    shape = spec.option("head")

    def score(batch: Batch) -> Floats:
        found = embed(batch)
        image, prompt = (torch.from_numpy(kept(part)) for part in (found.image, found.prompt))
        with torch.inference_mode():
            values = head_scores(state, shape, image[batch.image_of], prompt[batch.prompt_of])
        scores: Floats = values.numpy().astype(np.float32)
        return scores

    return score


def kept(embeddings: Any) -> Floats:
    """Embeddings as the store keeps them: rounded to float16, as float32."""
    return np.asarray(embeddings).astype(np.float16).astype(np.float32)


def head_scores(state: dict[str, torch.Tensor], shape: str, image: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """Scores (n,) of embeddings (n, d) by a head's tensors; the difference of two is a logit.

    x is standardised by `mean` and `std` first. linear: w·x with x = [i, i∘p]; bilinear: pᵀWx + w·x with x = i;
    mlp: v·gelu(Ux + b) + w·x with x = [i, p, i∘p].
    """
    import torch

    x = (head_inputs(shape, image, prompt) - state["mean"]) / state["std"]
    scores = x @ state["weight"]
    if shape == "bilinear":
        return scores + ((prompt @ state["matrix"]) * x).sum(1)
    if shape == "mlp":
        return scores + torch.nn.functional.gelu(x @ state["inner"].T + state["bias"]) @ state["outer"]
    return scores


def head_inputs(shape: str, image: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """What a head of this shape reads, before it is standardised: (n, d), (n, 2d) or (n, 3d)."""
    import torch

    parts = {"linear": (image, image * prompt), "bilinear": (image,), "mlp": (image, prompt, image * prompt)}
    return torch.cat(parts[shape], 1)


def _view(trained: TrainedScorer) -> View:
    make, options, version = trained.options["view"]
    if not make.startswith(_VIEWS):
        raise StoreError(f"{trained.ref} asks for the view {make}, which is none of ours", code="damaged")
    return View(make, tuple((key, _hashable(value)) for key, value in options), version)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
