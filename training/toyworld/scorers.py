"""Toyworld's scorers, registered through the same entry point that third parties use."""

from __future__ import annotations

from pathlib import Path

from workers.scorers.base import ScorerSpec

WEIGHTS = Path(__file__).parent / "weights"

SPECS = (
    ScorerSpec(
        name="clip-toy",
        summary="CLIP score of Toyworld's own open_clip model: cosine of image and prompt",
        factory="workers.scorers.clip:clip_score",
        tower=WEIGHTS / "clip",
    ),
    ScorerSpec(
        name="aesthetic-toy",
        summary="linear aesthetic head on the same CLIP embedding, about 1 to 10",
        factory="workers.scorers.clip:aesthetic",
        tower=WEIGHTS / "clip",
        head=WEIGHTS / "aesthetic" / "aesthetic_head.safetensors",
    ),
    ScorerSpec(
        name="preference-toy",
        summary="CLIP fine-tuned on noisy toy pairs by PickScore's objective",
        factory="workers.scorers.clip:preference",
        tower=WEIGHTS / "preference",
    ),
)
