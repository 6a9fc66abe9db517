"""CLIP towers on tiny models of noise, open_clip's against transformers and the other way round. The tolerance is
tighter than the smallest effect of the negative controls."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPModel

from tests.workers.clip_scorers import ATOL, as_hf, cropped, hf_clip, hf_scores, hps_files, openai_files, scores, spec
from tests.workers.clip_vocabularies import clip_vocabulary
from tests.workers.hard_prompts import PROMPTS as HARD
from tests.workers.tiny_clip import CONFIG, PROMPTS, SIDE, noisy_state, normalised, open_clip_model, pictures
from workers.scorers import clip
from workers.scorers.base import Batch, ScorerSpec, View
from workers.scorers.layouts import built
from workers.scorers.runtime import Runtime
from workers.scorers.tokens import hf_clip_tokens, open_clip_tokens
from workers.scorers.views import crop, float_crop


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return openai_files(tmp_path_factory.mktemp("openai"))


@pytest.mark.parametrize("quick", [True, False], ids=["openai, quick GELU", "laion, GELU"])
def test_the_clip_score_is_that_of_transformers(quick: bool, openai: tuple[Path, dict[str, Any]]) -> None:
    folder, config = openai
    config = config | {"quick_gelu": quick}
    made = clip.clip_score(
        spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=config), Runtime()
    )
    model = hf_clip(config)
    model.load_state_dict(as_hf(noisy_state(open_clip_model(config)), model))
    expected = hf_scores(model, normalised(cropped(crop(SIDE))), open_clip_tokens(77)(HARD))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scores(made, HARD, crop(SIDE)), expected, rtol=0, atol=ATOL)


WRONG = {
    "GELU for quick GELU": {"quick_gelu": False},
    "two heads in the image tower": {"vision_cfg": {"head_width": 12}},
    "four heads in the text tower": {"text_cfg": {"heads": 4}},
    "eps 1e-6 in the image tower": {"vision_cfg": {"norm_kwargs": {"eps": 1e-6}}},
    "eps 1e-6 in the text tower": {"text_cfg": {"norm_kwargs": {"eps": 1e-6}}},
    "the first token pooled": {"text_cfg": {"pool_type": "first"}},
    "the last token pooled": {"text_cfg": {"pool_type": "last"}},
    "the mean of the patches pooled": {"vision_cfg": {"pool_type": "avg"}},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_architecture_that_loads_would_be_noticed(wrong: str, openai: tuple[Path, dict[str, Any]]) -> None:
    folder, config = openai
    made = clip.clip_score(
        spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=config), Runtime()
    )
    right = scores(made, PROMPTS, crop(SIDE))
    other = copy.deepcopy(config)
    for key, value in WRONG[wrong].items():
        other[key] = {**other[key], **value} if isinstance(value, dict) else value
    twisted = spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=other)
    off = np.abs(scores(clip.clip_score(twisted, Runtime()), PROMPTS, crop(SIDE)) - right).max()
    assert off > 4 * ATOL


def test_the_scorers_have_the_activation_of_their_weights() -> None:
    # On small weights the cosine moves by 5e-5 only (reference §7.2), so the modules are looked at too.
    quick = open_clip.get_model_config("ViT-L-14-quickgelu")
    model = built(quick)
    acts = {type(module.mlp.gelu) for module in [*model.visual.transformer.resblocks, *model.transformer.resblocks]}
    assert acts == {open_clip.model.QuickGELU}
    model = built(open_clip.get_model_config("ViT-H-14"))
    acts = {type(module.mlp.gelu) for module in [*model.visual.transformer.resblocks, *model.transformer.resblocks]}
    assert acts == {torch.nn.GELU}


@pytest.fixture(scope="module")
def pickscore(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CLIPModel]:
    """PickScore's form: transformers' keys, and Hugging Face's vocabulary."""
    folder = tmp_path_factory.mktemp("pickscore") / "weights"
    folder.mkdir()
    model = hf_clip(CONFIG)
    state = noisy_state(model)
    model.load_state_dict(state)
    older = {f"{tower}.embeddings.position_ids": torch.arange(3)[None] for tower in ("text_model", "vision_model")}
    save_file(state | older, folder / "weights.safetensors")
    clip_vocabulary(folder)
    return folder, model


def test_pickscore_is_the_logit_of_transformers_own_model(pickscore: tuple[Path, CLIPModel]) -> None:
    folder, model = pickscore
    made = clip.preference(spec(folder, crop(SIDE), layout="hf_clip", tokenizer="hf_clip"), Runtime())
    ids = hf_clip_tokens(folder / "vocab.json", folder / "merges.txt", 77)(HARD)
    pixels = normalised(cropped(crop(SIDE)))
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(ids), pixel_values=pixels).logits_per_image.numpy()
    assert np.ptp(logits) > 2
    np.testing.assert_allclose(scores(made, HARD, crop(SIDE)), logits, rtol=0, atol=np.exp(3) * ATOL)
    # The eos rule of older configs (eos_token_id 2: the largest id) reads the same place.
    legacy = hf_clip(CONFIG, eos_token_id=2)
    legacy.load_state_dict(model.state_dict())
    np.testing.assert_allclose(hf_scores(legacy, pixels, ids) * np.exp(3), logits, rtol=0, atol=np.exp(3) * ATOL)


def test_pickscore_with_open_clips_tokenizer_would_be_noticed(pickscore: tuple[Path, CLIPModel]) -> None:
    folder, _ = pickscore
    right = scores(
        clip.preference(spec(folder, crop(SIDE), layout="hf_clip", tokenizer="hf_clip"), Runtime()), HARD, crop(SIDE)
    )
    wrong = scores(
        clip.preference(spec(folder, crop(SIDE), layout="hf_clip", tokenizer="open_clip"), Runtime()), HARD, crop(SIDE)
    )
    off = np.abs(right - wrong).max(0) / np.exp(3)
    assert off[[4, 5, 6, 7, 8, 9, 10]].min() > 100 * ATOL
    assert off[[0, 1, 2, 3]].max() < ATOL


def test_an_unnormalised_embedding_would_be_noticed(openai: tuple[Path, dict[str, Any]]) -> None:
    folder, config = openai
    made = clip.clip_score(
        spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=config), Runtime()
    )
    model = hf_clip(config)
    model.load_state_dict(as_hf(noisy_state(open_clip_model(config)), model))
    with torch.no_grad():
        seen = model.get_image_features(pixel_values=normalised(cropped(crop(SIDE)))).pooler_output
        read = model.get_text_features(input_ids=torch.from_numpy(open_clip_tokens(77)(PROMPTS))).pooler_output
    read = read / read.norm(dim=1, keepdim=True)
    assert np.abs((seen @ read.T).numpy() - scores(made, PROMPTS, crop(SIDE))).min() > 0.01


def test_a_score_does_not_depend_on_its_neighbours(tmp_path: Path, openai: tuple[Path, dict[str, Any]]) -> None:
    (folder, config), hps = openai, hps_files(tmp_path)
    for made, view in (
        (spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=config), crop(SIDE)),
        (spec(hps, float_crop(SIDE), layout="state_dict", tokenizer="open_clip"), float_crop(SIDE)),
    ):

        def fresh(images: list[Any], prompts: list[str], made: ScorerSpec = made, view: View = view) -> np.ndarray:

            return clip.clip_score(made, Runtime(part=2))(Batch.of(images, prompts, [view]))

        together = fresh(pictures(), PROMPTS)
        alone = [fresh([image], [prompt])[0] for image, prompt in zip(pictures(), PROMPTS, strict=True)]
        backwards = fresh(pictures()[::-1], PROMPTS[::-1])[::-1]
        crowded = fresh([*pictures(), *pictures()[1:]], [*PROMPTS, "x", HARD[-1]])[:3]
        for other in (alone, backwards, crowded):
            np.testing.assert_allclose(together, other, rtol=0, atol=1e-6)
