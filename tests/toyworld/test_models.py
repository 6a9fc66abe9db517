"""The shipped models: small, safe to load, and as good as their card says."""

import json
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from training.toyworld.making.card import write_card
from training.toyworld.making.clip import load_clip, measure_clip
from training.toyworld.making.preference import measure_preference
from training.toyworld.making.vae import measure_vae
from training.toyworld.scorers import SPECS, WEIGHTS
from training.toyworld.tokenizer import CONTEXT, build_tokenizer
from training.toyworld.world import all_scenes

MEASURED = json.loads((WEIGHTS / "measured.json").read_text())


def test_they_are_safetensors_and_take_at_most_twelve_megabytes() -> None:
    weights = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in weights} <= {".safetensors", ".json", ".md"}
    assert sum(path.stat().st_size for path in weights) <= 12_000_000


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors"))
    write_card(tmp_path, MEASURED, size)
    assert (tmp_path / "CARD.md").read_text() == (WEIGHTS / "CARD.md").read_text()


def test_every_word_is_one_token_and_every_prompt_fits() -> None:
    tokenizer = build_tokenizer()
    for scene in all_scenes():
        assert len(tokenizer(scene.prompt).input_ids) == 2 + len(scene.prompt.split()) <= CONTEXT


def test_the_vae_carries_what_raters_see() -> None:
    found = measure_vae(WEIGHTS / "pipeline" / "vae", pairs=500)
    assert found["oracle_verdict_kept"] >= 0.97 - 0.015  # five hundred pairs scatter by about 0.75 %
    assert found["psnr_db"] == pytest.approx(MEASURED["vae"]["psnr_db"], abs=0.5)


def test_clip_finds_the_prompt_of_a_picture() -> None:
    import open_clip

    ids_of = open_clip.get_tokenizer(f"local-dir:{WEIGHTS / 'clip'}")
    found = measure_clip(load_clip(WEIGHTS / "clip"), ids_of=ids_of)
    assert found["retrieval_top1_flawless"] == pytest.approx(MEASURED["clip"]["retrieval_top1_flawless"], abs=0.02)
    assert found["retrieval_top1"] == pytest.approx(MEASURED["clip"]["retrieval_top1"], abs=0.02)


def test_the_preference_model_orders_pairs_better_than_its_raters_did() -> None:
    found = measure_preference(WEIGHTS / "preference", pairs=1000)
    assert found["pair_accuracy"] > found["rater_accuracy"] + 0.03
    assert found["pair_accuracy"] == pytest.approx(MEASURED["preference"]["pair_accuracy"], abs=0.03)


def test_the_pipeline_is_one_that_diffusers_opens() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", safety_checker=None)
    assert pipeline.unet.config.in_channels == pipeline.vae.config.latent_channels == 4
    assert pipeline.tokenizer.model_max_length == CONTEXT


def test_each_scorer_has_its_weights() -> None:
    assert [spec.name for spec in SPECS if spec.missing] == []
