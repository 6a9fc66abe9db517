"""Toyworld's scorers, registered through the same entry point that third parties use."""

from __future__ import annotations

from pathlib import Path

from workers.scorers.base import Cost, EmbeddingSpec, ScorerSpec
from workers.scorers.views import crop
from workers.scorers.weights import assets_in

WEIGHTS = Path(__file__).parent / "weights"
_SEES = crop(64)
_COST = Cost(parameters=768_001, image_gflops=0.066, text_gflops=0.0073)

SPECS = (
    ScorerSpec(
        name="clip-toy",
        summary="CLIP score of Toyworld's own open_clip model: cosine of image and prompt",
        factory="workers.scorers.clip:clip_score",
        views=(_SEES,),
        assets=assets_in(WEIGHTS / "clip"),
        range="-1 to 1",
        weights_licence="Apache-2.0",
        cost=_COST,
        golden=(0.711529, 0.11874, 0.004771, -0.052993, 0.401501, 0.191493, 0.262131, 0.519908),
        embedding=EmbeddingSpec("clip-toy", "workers.scorers.clip:embeddings", 64),
    ),
    ScorerSpec(
        name="aesthetic-toy",
        summary="linear aesthetic head on the same CLIP embedding, about 1 to 10",
        factory="workers.scorers.clip:aesthetic",
        views=(_SEES,),
        assets=assets_in(WEIGHTS / "clip") + assets_in(WEIGHTS / "aesthetic"),
        range="about 1 to 10",
        weights_licence="Apache-2.0",
        cost=_COST,
        golden=(8.255569, 4.9575, 7.482111, 8.699495, 6.385911, 6.656186, 7.704966, 7.235251),
    ),
    ScorerSpec(
        name="preference-toy",
        summary="CLIP fine-tuned on noisy toy pairs by PickScore's objective",
        factory="workers.scorers.clip:preference",
        views=(_SEES,),
        assets=assets_in(WEIGHTS / "preference"),
        range="open",
        weights_licence="Apache-2.0",
        cost=_COST,
        golden=(16.157227, 17.854815, 17.717501, 15.676219, 18.725685, 14.625323, 14.310563, 16.312906),
    ),
)
