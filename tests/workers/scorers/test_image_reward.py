"""ImageReward against the authors' own code (image-reward 1.5, run apart by scripts/golden/make_image_reward.py), on a
model in miniature whose every parameter is noise."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_blip import PROMPTS, TINY, VOCABULARY, pictures, reward_layout, tiny_parameters
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from workers.scorers import blip, image_reward
from workers.scorers.base import Batch, Floats, ScorerSpec
from workers.scorers.catalog.blip import SPECS
from workers.scorers.lean import parted
from workers.scorers.runtime import Runtime
from workers.scorers.views import crop
from workers.scorers.weights import Asset, WeightsError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "image_reward.json").read_text())
PUBLISHED = SPECS[0]
TOLERANCE = 4e-6
GRID = [(image, prompt) for image in range(3) for prompt in range(4)]


def spec_in(folder: Path, **changes: Any) -> ScorerSpec:
    assets = tuple(Asset(asset.name, path=folder / Path(asset.name).name) for asset in PUBLISHED.assets)
    options = tuple((TINY | changes).items())
    return dataclasses.replace(PUBLISHED, assets=assets, options=options, views=(crop(TINY["image_size"]),))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    folder = tmp_path_factory.mktemp("imagereward")
    parameters = tiny_parameters(reward_layout(TINY))
    torch.save({key: torch.from_numpy(value) for key, value in parameters.items()}, folder / "ImageReward.pt")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return spec_in(folder)


def rewards(spec: ScorerSpec, grid: list[tuple[int, int]] = GRID, part: int = 128) -> Floats:
    shown = pictures()
    images, prompts = [shown[image] for image, _ in grid], [PROMPTS[prompt] for _, prompt in grid]
    return image_reward.image_reward(spec, Runtime(part=part))(Batch.of(images, prompts, spec.views))


def crop_of(spec: ScorerSpec, picture: int) -> torch.Tensor:
    return torch.tensor(spec.views[0](pictures()[picture]))[None]


def golden(grid: list[tuple[int, int]] = GRID) -> Floats:
    return np.array([GOLDEN["rewards"][image][prompt] for image, prompt in grid], np.float32)


def test_rewards_are_those_of_the_authors_score(spec: ScorerSpec) -> None:
    given = rewards(spec)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, golden(), rtol=0, atol=TOLERANCE)


def test_the_images_tokens_are_those_of_the_authors_vit(spec: ScorerSpec) -> None:
    model = image_reward.ImageReward(spec, Runtime())
    np.testing.assert_allclose(model._seen(crop_of(spec, 1))[0], GOLDEN["seen"], rtol=0, atol=TOLERANCE)


def test_a_reward_does_not_depend_on_its_neighbours_or_their_order(spec: ScorerSpec) -> None:
    together = rewards(spec)
    apart = np.concatenate([rewards(spec, [item]) for item in GRID])
    backwards = rewards(spec, GRID[::-1])[::-1]
    in_parts_of_two = rewards(spec, part=2)
    for other in (apart, backwards, in_parts_of_two):
        np.testing.assert_allclose(other, together, rtol=0, atol=TOLERANCE)


def test_an_image_goes_through_the_vit_once_for_all_its_prompts(
    spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        image_reward, "look", lambda tower, pixels: seen.append(len(pixels)) or blip.look(tower, pixels)
    )
    rewards(spec)
    assert seen == [3]


def test_prompts_are_padded_to_the_longest_of_their_part_and_no_further(
    spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    def told(tower: Any, ids: torch.Tensor, lengths: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        widths.append(ids.shape[1])
        return blip.read(tower, ids, lengths, seen)

    monkeypatch.setattr(image_reward, "read", told)
    rewards(spec, part=3)
    assert widths == [2, 5, 28, 35]


def test_padding_changes_no_state_of_a_prompt(spec: ScorerSpec) -> None:
    # In float64, where it shows that the difference is rounding and nothing else.
    model = image_reward.ImageReward(spec, Runtime())
    text = model._text.double()
    (ids,) = model._pieces([PROMPTS[0]])
    seen = model._seen(crop_of(spec, 0)).double()
    padded = torch.zeros(1, 35, dtype=torch.long)
    padded[0, : len(ids)] = torch.from_numpy(ids)
    length = torch.tensor([len(ids)])
    short = blip.read(text, padded[:, : len(ids)], length, seen)
    long = blip.read(text, padded, length, seen)[:, : len(ids)]
    np.testing.assert_allclose(long, short, rtol=0, atol=1e-13)


def test_half_precision_towers_give_nearly_the_same_in_float32(spec: ScorerSpec) -> None:
    half = rewards(spec.at("bf16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - golden()).max() < 0.05


# Negative controls: each is a mistake that loads without an error, and each must leave the tolerance far behind.


@pytest.mark.parametrize("wrong", [{"text_heads": 8}, {"text_heads": 4}, {"vision_heads": 4}, {"vision_heads": 6}])
def test_another_number_of_heads_would_be_noticed(spec: ScorerSpec, wrong: dict[str, int]) -> None:
    folder = spec.path("vocab.txt").parent
    assert np.abs(rewards(spec_in(folder, **wrong)) - golden()).max() > 100 * TOLERANCE


def test_transformers_eps_for_the_vit_would_be_noticed(spec: ScorerSpec) -> None:
    model = image_reward.ImageReward(spec, Runtime())
    for module in model._vision.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = BlipVisionConfig().layer_norm_eps
    assert np.abs(model._seen(crop_of(spec, 1))[0].numpy() - GOLDEN["seen"]).max() > 20 * TOLERANCE


def test_enc_before_the_prompt_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_enc(self: Any, prompts: Any) -> Any:
        return [np.append(TINY["vocabulary"] - 1, ids[1:]) for ids in pieces(self, prompts)]

    pieces = blip.WordPieces.__call__
    monkeypatch.setattr(blip.WordPieces, "__call__", with_enc)
    assert np.abs(rewards(spec) - golden()).min() > 100 * TOLERANCE


def test_a_prompt_read_in_one_direction_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = blip.scaled_dot_product_attention

    def causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None) -> torch.Tensor:
        if attn_mask is not None:
            attn_mask = attn_mask & torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
        return attention(query, key, value, attn_mask=attn_mask)

    monkeypatch.setattr(blip, "scaled_dot_product_attention", causal)
    assert np.abs(rewards(spec) - golden()).max() > 100 * TOLERANCE


def test_a_head_without_the_authors_mean_and_deviation_would_be_noticed(spec: ScorerSpec) -> None:
    raw = rewards(spec) * image_reward._STD + image_reward._MEAN
    assert np.abs(raw - golden()).min() > 100 * TOLERANCE


def test_the_head_as_one_map_gives_what_its_layers_give() -> None:
    # The layers one after the other in float64, as the formula of the head has them.
    layout = {key.removeprefix("mlp."): size for key, size in reward_layout(TINY).items() if key.startswith("mlp.")}
    layers = {key: torch.from_numpy(value) for key, value in tiny_parameters(layout).items()}
    head = image_reward.reward_head(layers)
    state = torch.randn(20, TINY["text_width"], generator=torch.Generator().manual_seed(0)).double()
    long_way = state
    for layer in ("0", "2", "4", "6", "7"):
        long_way = long_way @ layers[f"layers.{layer}.weight"].double().T + layers[f"layers.{layer}.bias"].double()
    expected = (long_way[:, 0] - 0.16717362830052426) / 1.0333394966054072
    np.testing.assert_allclose(head(state.float()), expected, rtol=0, atol=1e-6)


# The published checkpoint, by its layout.

LARGE = dict(PUBLISHED.options)


def test_the_published_layout_fits_the_towers_key_by_key() -> None:
    layout = reward_layout(LARGE)
    assert len(layout) == 625
    assert sum(math.prod(size) for key, size in layout.items() if "position_ids" not in key) == 446_665_953
    state = {key: torch.empty(size, device="meta") for key, size in layout.items()}
    prefixes = ("blip.visual_encoder.", "blip.text_encoder.", "mlp.")
    seen, read, head = parted(state, prefixes, dropped=image_reward._DROPPED, what="")
    shape = blip.BlipShape.of(PUBLISHED)
    vision, text = blip.vision_tower(shape).state_dict(), blip.text_tower(shape, looks=True).state_dict()
    mapped = {blip.vision_key(key): value.shape for key, value in seen.items()}
    assert mapped == {key: value.shape for key, value in vision.items()}
    read.pop("embeddings.position_ids")
    assert {key: value.shape for key, value in read.items()} == {key: value.shape for key, value in text.items()}
    assert len(vision) + len(text) + len(head) == 620
    kept = sum(value.numel() for part in (vision, text, head) for value in part.values())
    assert kept == 446_206_689 == PUBLISHED.cost.parameters


def test_transformers_own_defaults_are_not_the_published_models() -> None:
    # The three that load, or nearly load, without an error: why the shape is spelled out.
    text, vision = BlipTextConfig(), BlipVisionConfig()
    assert (text.num_attention_heads, text.encoder_hidden_size, vision.layer_norm_eps) == (8, 768, 1e-5)
    shape = blip.BlipShape.of(PUBLISHED)
    made, seen = blip.text_tower(shape, looks=True).config, blip.vision_tower(shape).config
    assert (made.num_attention_heads, made.encoder_hidden_size, seen.layer_norm_eps) == (12, 1024, 1e-6)


def test_a_cross_attention_over_transformers_default_width_does_not_load(spec: ScorerSpec) -> None:
    shape = dataclasses.replace(blip.BlipShape.of(spec), vision_width=768)
    state = {key: torch.from_numpy(value) for key, value in tiny_parameters(reward_layout(TINY)).items()}
    _, read, _ = parted(
        state, ("blip.visual_encoder.", "blip.text_encoder.", "mlp."), dropped=image_reward._DROPPED, what=""
    )
    with pytest.raises(WeightsError, match=r"crossattention\.self\.key\.weight of shape \(48, 60\), not \(48, 768\)"):
        blip.load_text(shape, read, "float32", "cpu", looks=True)


def test_a_checkpoint_of_another_model_is_refused_in_one_line(spec: ScorerSpec, tmp_path: Path) -> None:
    state = {key: torch.from_numpy(value) for key, value in tiny_parameters(reward_layout(TINY)).items()}
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    for change, said in (
        ({"blip.visual_encoder.norm.bias": None}, "lacks post_layernorm.bias"),
        ({"optimizer.step": torch.zeros(1)}, "unknown optimizer.step"),
        ({"blip.text_encoder.pooler.dense.bias": torch.zeros(48)}, "unknown pooler.dense.bias"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        torch.save(changed, tmp_path / "ImageReward.pt")
        with pytest.raises(WeightsError, match=said):
            image_reward.image_reward(spec_in(tmp_path), Runtime())


# Transformers' own passes over the same weights: a third opinion, and what its shortcuts would give.


def transformers_states(spec: ScorerSpec, **forward: Any) -> tuple[torch.Tensor, Any]:
    model = image_reward.ImageReward(spec, Runtime())
    vision, text = BlipVisionModel(model._vision.config), BlipTextModel(model._text.config, add_pooling_layer=False)
    vision.load_state_dict(model._vision.state_dict())
    text.load_state_dict(model._text.state_dict())
    pixels = image_reward.clip_pixels(crop_of(spec, 1))
    (ids,) = model._pieces([PROMPTS[1]])
    with torch.no_grad():
        seen = vision.eval()(pixel_values=pixels)
        ids = torch.from_numpy(ids)[None]
        states = text.eval()(input_ids=ids, encoder_hidden_states=seen.last_hidden_state, **forward)
    return model._head(states.last_hidden_state[:, 0])[0], seen


def test_transformers_own_pass_agrees(spec: ScorerSpec) -> None:
    reward, _ = transformers_states(spec)
    assert float(reward) == pytest.approx(GOLDEN["rewards"][1][1], abs=TOLERANCE)


def test_transformers_decoder_pass_and_pooled_output_would_be_noticed(spec: ScorerSpec) -> None:
    causal, seen = transformers_states(spec, is_decoder=True)
    assert abs(float(causal) - GOLDEN["rewards"][1][1]) > 100 * TOLERANCE
    # It passes the last norm twice.
    assert (seen.pooler_output[0] - torch.tensor(GOLDEN["seen"][0])).abs().max() > 100 * TOLERANCE
