"""Which scorer's embedding is meant."""

from __future__ import annotations

from training.embedding import embedding_scorer


def test_the_embedding_follows_from_the_model_unless_it_is_named() -> None:
    assert embedding_scorer("auto", "toyworld").name == "clip-toy"
    assert embedding_scorer("auto", "some/model").name == "clip-l14"
    assert embedding_scorer("clip-toy", "some/model").name == "clip-toy"
    wide = embedding_scorer("clip-h14", "some/model").embedding
    assert wide is not None and wide.name == "clip-h14", "a CLIP that keeps no embedding has one all the same"
