"""RPO's features: of the original caption, from the store where a scorer kept them, never computed twice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cached_runs import config_of, material_of

from ranking.errors import PairsieveError, UsageError
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.caches import features
from training.caches.features import features_work
from training.data.order import Visit
from training.data.pairs import from_store
from training.loop.training import Training
from training.models.load import load_model
from workers.scorers.registry import choose, load_committee

RPO: dict[str, Any] = {"name": "rpo", "embedding": "clip-toy"}


class NoEmbedder:
    """What must not be made."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise AssertionError("an embedder was loaded")


def test_features_are_the_scorers_unit_vectors_of_image_and_original_caption(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    """The cosine of both is what the scorer itself gives the pictures, whatever was dropped in training."""
    assert not cache.exists()
    material = material_of(store, subset, config_of(tiny_model, method=RPO, data={"prompt_dropout": 1.0}))
    visits = [Visit(place, 0) for place in range(len(material))]
    found = material.batch(visits).features
    assert found is not None and found.shape == (2 * len(material), 2, 64)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(found.shape[:2]), atol=1e-3, rtol=0)
    uids = material.images(visits)
    pictures = dict(from_store(store, subset).pictures(uids))
    from ranking.images import decode_rgb

    committee = load_committee(["clip-toy"], "cpu")
    prompts = material.rows.prompts_of(range(len(material))) * 2
    (scores,) = committee.score_pictures([decode_rgb(pictures[uid]) for uid in uids], prompts).values()
    np.testing.assert_allclose((found[:, 0] * found[:, 1]).sum(-1), scores, atol=2e-3)


def test_a_second_run_computes_none(
    store: Store, subset: Subset, tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    first = material_of(store, subset, config_of(tiny_model, method=RPO))
    monkeypatch.setattr(features, "Embedder", NoEmbedder)
    second = material_of(store, subset, config_of(tiny_model, method={**RPO, "temperature": 0.5, "combine": "image"}))
    visits = [Visit(0, 0), Visit(1, 0)]
    one, other = first.batch(visits).features, second.batch(visits).features
    assert one is not None and other is not None and torch.equal(one, other)


def test_what_the_store_kept_is_taken_from_there(
    store: Store, subset: Subset, tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    source, spec = from_store(store, subset), choose("clip-toy")
    asked: list[tuple[str, int]] = []

    def embedded(_: Any, kind: str, keys: list[str]) -> dict[str, Any]:
        asked.append((kind, len(keys)))
        return {key: np.eye(64, dtype=np.float32)[place] for place, key in enumerate(keys)}

    object.__setattr__(source, "embedded", embedded)
    monkeypatch.setattr(features, "Embedder", NoEmbedder)
    work = features_work(source.rows, source, spec, device="cpu")
    assert work.fill().all()
    assert asked == [("image", len(source.rows.images)), ("prompt", source.rows.prompts)]
    assert tiny_model.exists()


def test_rpo_trains_on_them(store: Store, subset: Subset, tiny_model: Path, cache: Path) -> None:
    """At the start policy and reference agree, so every comparison has the logit 0 and the loss is ln 2."""
    assert not cache.exists()
    config = config_of(tiny_model, method=RPO, cache={"reference_draws": 2}, steps=2)
    model = load_model(str(tiny_model), device="cpu")
    training = Training(model, material_of(store, subset, config, model=model), config)
    assert training.advance().loss == pytest.approx(np.log(2), abs=1e-6)


def test_a_bad_embedding_is_refused_before_anything_is_encoded(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    with pytest.raises(UsageError, match=r"aesthetic-toy has no embedding; set method\.embedding"):
        material_of(store, subset, config_of(tiny_model, method={**RPO, "embedding": "aesthetic-toy"}))
    with pytest.raises(PairsieveError, match=r"unknown scorer 'clip-toys'"):
        material_of(store, subset, config_of(tiny_model, method={**RPO, "embedding": "clip-toys"}))
    with pytest.raises(PairsieveError, match="clip-l14"):  # its weights are not here
        material_of(store, subset, config_of(tiny_model, method={"name": "rpo"}))
    assert not cache.exists()
