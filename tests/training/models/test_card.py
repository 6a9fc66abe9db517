"""What a model card tells, and what it keeps to itself."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from training.models.card import Card, Result, public, render

CARD = Card(
    run="0123456789abcdef",
    family="sdxl",
    base="org/base-xl@main",
    commit="c" * 40,
    fingerprint="f" * 64,
    holds="denoiser",
    without_t5=False,
    method="dpo",
    subset="best@3",
    subset_sha256="a" * 64,
    snapshot=7,
    snapshot_sha="b" * 64,
    dataset="pets",
    recipe={"name": "best", "metric": {"name": "margin", "scorer": "pickscore"}},
    config={"model": "/home/somebody/models/base-xl", "evaluation": {"prompts": "~/lists/prompts.txt"}, "steps": 3},
    facts={"steps": "3 of 2,048 pairs"},
    results=[Result("pickscore", 0.625, 0.5, 0.75, 96)],
)


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_a_card_names_all_that_a_model_came_from() -> None:
    text = render(CARD)
    for told in (
        "`best@3`",
        "a" * 64,
        "7, sha",
        "`pets`",
        "`dpo`",
        "scorer: pickscore",
        "62.5%",
        "50.0% – 75.0%",
        "2,048",
    ):
        assert told in text
    assert front(text)["base_model"] == "org/base-xl"
    assert front(text)["library_name"] == "diffusers"
    assert {"stable-diffusion-xl", "dpo", "text-to-image"} <= set(front(text)["tags"])


def test_a_card_has_no_path_of_the_machine() -> None:
    text = render(replace(CARD, base="/home/somebody/models/base-xl", commit=None))
    assert "somebody" not in text
    assert "lists" not in text
    assert "base-xl" in text
    assert "prompts.txt" in text
    assert "base_model" not in front(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/data/x/prompts.txt", "prompts.txt"),
        ("C:\\models\\mine", "mine"),
        ("../models/mine", "mine"),
        ("org/name", "org/name"),
        ("a red/blue star", "a red/blue star"),
        (["/a/b", {"c": "/d/e"}, 3, None], ["b", {"c": "e"}, 3, None]),
    ],
)
def test_paths_keep_their_last_part(value: Any, shown: Any) -> None:
    assert public(value) == shown


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"holds": "pipeline"}, 'pipe = StableDiffusionXLPipeline.from_pretrained("folder")'),
        ({"holds": "adapters"}, 'pipe.load_lora_weights("folder")'),
        ({}, 'unet = UNet2DConditionModel.from_pretrained("folder", subfolder="unet")'),
        ({}, f'pipe = StableDiffusionXLPipeline.from_pretrained("org/base-xl", revision="{"c" * 40}", unet=unet)'),
        (
            {"family": "sd3", "holds": "pipeline", "without_t5": True},
            'StableDiffusion3Pipeline.from_pretrained("folder", text_encoder_3=None, tokenizer_3=None)',
        ),
        ({"family": "sd3"}, 'transformer = SD3Transformer2DModel.from_pretrained("folder", subfolder="transformer")'),
    ],
)
def test_a_card_has_the_lines_that_load_the_model(changes: dict[str, Any], line: str) -> None:
    assert line in render(replace(CARD, **changes))


def test_adapters_are_tagged_as_such_and_a_model_without_results_says_so() -> None:
    text = render(replace(CARD, holds="adapters", results=()))
    assert front(text)["base_model_relation"] == "adapter"
    assert "lora" in front(text)["tags"]
    assert "has not been compared with its base" in text
