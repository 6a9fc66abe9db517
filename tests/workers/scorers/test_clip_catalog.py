"""The CLIP family's specs: what they share, and that what tells them apart is in their ids."""

import json

import pytest

from workers.scorers.base import ScorerSpec
from workers.scorers.catalog.clip import SPECS
from workers.scorers.views import crop, float_crop, hf_crop, squash

BY_NAME = {spec.name: spec for spec in SPECS}


def test_the_family_is_complete() -> None:
    assert set(BY_NAME) == {
        *("clip-l14", "clip-h14", "siglip2-so400m", "aesthetic-v1", "aesthetic-v2"),
        *("pickscore-v1", "hpsv2", "hpsv2.1"),
    }


def test_each_sees_the_picture_as_its_authors_code_does() -> None:
    seen = {name: spec.views for name, spec in BY_NAME.items()}
    assert seen.pop("siglip2-so400m") == (squash(384),)
    assert seen.pop("hpsv2") == seen.pop("hpsv2.1") == (float_crop(224),)
    assert seen.pop("pickscore-v1") == (hf_crop(224),)
    assert set(seen.values()) == {(crop(224),)}


def test_the_aesthetic_heads_and_the_clip_score_name_one_tower() -> None:
    clip, *heads = (BY_NAME[name] for name in ("clip-l14", "aesthetic-v1", "aesthetic-v2"))
    for head in heads:
        assert head.assets[0] == clip.assets[0]
        assert head.options[:-1] == clip.options
        assert head.options[-1][0] == "head"
        assert head.assets[1].name.endswith(head.option("head"))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_spec_says_what_it_needs(spec: ScorerSpec) -> None:
    assert spec.weights_licence in {"MIT", "Apache-2.0"}
    assert spec.range
    assert spec.cost.parameters > 4e8
    assert spec.cost.image_gflops > 100
    assert (spec.cost.text_gflops > 0) != spec.name.startswith("aesthetic")
    assert [asset for asset in spec.assets if asset.name.endswith(spec.option("weights"))] == [spec.assets[0]]
    assert all(asset.source for asset in spec.assets)
    assert json.dumps(spec.options)


def test_pickscore_reads_hugging_faces_tokens_and_the_others_open_clips() -> None:
    tokenizers = {name: spec.option("tokenizer") for name, spec in BY_NAME.items()}
    assert {name for name, tokenizer in tokenizers.items() if tokenizer == "hf_clip"} == {"pickscore-v1"}
    assert {name for name, tokenizer in tokenizers.items() if tokenizer == "siglip2"} == {"siglip2-so400m"}
    assert set(tokenizers.values()) == {"hf_clip", "siglip2", "open_clip"}
