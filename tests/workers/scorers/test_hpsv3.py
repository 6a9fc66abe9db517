"""HPSv3 against its authors' code (golden/hpsv3.json, by scripts/golden/make_hpsv3.py) on a tiny model of noise, the
mistakes that this would catch, and the full size against the published layout."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vlm
import torch
from safetensors.numpy import save_file
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

from ranking.errors import UsageError
from workers.scorers import hpsv3
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.catalog.vlm import SPECS
from workers.scorers.lean import fill, named_state
from workers.scorers.runtime import Runtime
from workers.scorers.views import tiled
from workers.scorers.weights import Asset, WeightsError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "hpsv3.json").read_text())
MU, SIGMA = np.array(GOLDEN["mu_sigma"], np.float32).T
SHAPES = {name: tuple(shape) for name, shape in GOLDEN["shapes"].items()}
FULL = next(spec for spec in SPECS if spec.name == "hpsv3")
VIEW = tiled(28, 256 * 28 * 28)
CLOSE = 2e-6
"""The authors' own scores move by 7e-7 with the company that an item keeps."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    """HPSv3 in small, in the files in which the large one is published."""
    folder = tmp_path_factory.mktemp("hpsv3")
    save_file(tiny_vlm.tensors(SHAPES), folder / "HPSv3.safetensors")
    tiny_vlm.qwen_tokenizer().save(str(folder / "tokenizer.json"))
    words = f"INSTRUCTION = {tiny_vlm.INSTRUCTION!r}\nprompt_with_special_token = {tiny_vlm.REQUEST!r}\n"
    tiny_vlm.write_wheel(folder / "hpsv3-1.0.0-py3-none-any.whl", "hpsv3/dataset/data_collator_qwen.py", words)
    text = dict(tiny_vlm.QWEN_TEXT)
    section = text.pop("mrope_section")
    return replace(
        FULL,
        name="hpsv3-tiny",
        precision="float32",
        assets=tuple(Asset(f"tiny/{path.name}", path=path) for path in sorted(folder.iterdir())),
        options=(
            ("text", tuple(text.items())),
            ("mrope_section", section),
            ("vision", (*tiny_vlm.QWEN_VISION.items(), ("hidden_act", "quick_gelu"))),
            ("tokens", SHAPES["model.embed_tokens.weight"][0]),
            ("head", (1024, 16)),
            ("chat", FULL.option("chat")),
        ),
    )


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batch.of(tiny_vlm.pictures(), tiny_vlm.PROMPTS, [VIEW])


@pytest.fixture(scope="module")
def model(tiny: ScorerSpec) -> hpsv3.RewardModel:
    return loaded(tiny)


def loaded(spec: ScorerSpec) -> hpsv3.RewardModel:
    state = named_state({"tiny": spec.path("HPSv3.safetensors")}, hpsv3.published_name)
    return fill(hpsv3.built(spec), state, what="tiny")


def requests(spec: ScorerSpec) -> hpsv3.Requests:
    return hpsv3.Requests(spec.path("/tokenizer.json"), spec.path(".whl"), chat=spec.option("chat"))


def seen(model: hpsv3.RewardModel, batch: Batch) -> list[torch.Tensor]:
    with torch.inference_mode():
        return model.see([torch.from_numpy(picture.copy()) for picture in batch.view(VIEW)])


def read(model: hpsv3.RewardModel, batch: Batch, ids: list[list[int]]) -> np.ndarray:
    """[μ, σ] of the batch's items at the last of these ids."""
    with torch.inference_mode():
        start = ids[0].index(token("<|image_pad|>"))
        return model.rm_head(model.hidden(seen(model, batch), ids, start)).numpy()


def token(word: str) -> int:
    found = tiny_vlm.qwen_tokenizer().token_to_id(word)
    assert found is not None
    return found


def up_to_reward(ids: list[int]) -> list[int]:
    return ids[: ids.index(max(ids)) + 1]


def changed(spec: ScorerSpec, option: str, **values: object) -> ScorerSpec:
    options = dict(spec.options)
    options[option] = tuple({**dict(options[option]), **values}.items())
    return replace(spec, options=tuple(options.items()))


def test_scores_are_the_authors(tiny: ScorerSpec, batch: Batch) -> None:
    scores = hpsv3.hpsv3(tiny, Runtime())(batch)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, MU, atol=CLOSE, rtol=0)


def test_the_model_sees_the_pixels_of_the_authors_to_the_bit(batch: Batch) -> None:
    patches = torch.cat([hpsv3.patches(torch.from_numpy(picture.copy())) for picture in batch.view(VIEW)])
    assert hashlib.sha256(patches.numpy().tobytes()).hexdigest() == GOLDEN["patches_sha256"]
    grids = [[1, picture.shape[0] // 14, picture.shape[1] // 14] for picture in batch.view(VIEW)]
    assert grids == GOLDEN["grids"]


def test_the_request_is_the_authors_token_by_token_up_to_the_reward(tiny: ScorerSpec) -> None:
    chat = requests(tiny)
    for prompt, ids, (_, high, wide) in zip(tiny_vlm.PROMPTS, GOLDEN["ids"], GOLDEN["grids"], strict=True):
        assert chat.whole(high * wide // 4, chat.text(prompt)) == up_to_reward(ids)


MISTAKES: dict[str, Callable[[ScorerSpec], ScorerSpec]] = {
    "gelu for quick_gelu": lambda spec: changed(spec, "vision", hidden_act="gelu"),
    "another number of heads in the vision tower": lambda spec: changed(spec, "vision", num_heads=10),
    "another base of the rotation": lambda spec: changed(spec, "text", rope_theta=10_000.0),
    "another epsilon": lambda spec: changed(spec, "text", rms_norm_eps=1e-3),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_size_that_loads_all_the_same_is_found(
    mistake: Callable[[ScorerSpec], ScorerSpec], tiny: ScorerSpec, batch: Batch
) -> None:
    scores = hpsv3.hpsv3(mistake(tiny), Runtime())(batch)
    assert np.abs(scores - MU).max() > 50 * CLOSE


def test_neither_sigma_nor_the_last_token_is_the_score(model: hpsv3.RewardModel, batch: Batch) -> None:
    at_reward = read(model, batch, [up_to_reward(ids) for ids in GOLDEN["ids"]])
    np.testing.assert_allclose(at_reward[:, 0], MU, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(at_reward[:, 1], SIGMA, atol=CLOSE, rtol=0)
    assert np.abs(SIGMA - MU).min() > 50 * CLOSE
    at_the_end = read(model, batch, GOLDEN["ids"])
    assert np.abs(at_the_end[:, 0] - MU).min() > 50 * CLOSE


def test_pictures_take_one_position_a_token_not_qwens_three(
    model: hpsv3.RewardModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [up_to_reward(each) for each in GOLDEN["ids"]]
    longest = max(len(row) for row in ids)
    qwens = torch.stack([of_qwen(row, grid, longest) for row, grid in zip(ids, GOLDEN["grids"], strict=True)], dim=1)
    with_inputs(monkeypatch, model, lambda inputs: {**inputs, "position_ids": qwens})
    assert np.abs(read(model, batch, ids)[:, 0] - MU).min() > 50 * CLOSE


def of_qwen(ids: list[int], grid: list[int], longest: int) -> torch.Tensor:
    """The three axes of Qwen2-VL's multimodal rotation (Wang et al. 2024, §2.1): text counts on all, a picture stands
    still in time and counts rows and columns."""
    start, high, wide = ids.index(token("<|image_pad|>")), grid[1] // 2, grid[2] // 2
    after = len(ids) - start - high * wide
    head = torch.arange(start).expand(3, -1)
    rows = torch.arange(high).repeat_interleave(wide)
    picture = torch.stack([torch.zeros_like(rows), rows, torch.arange(wide).repeat(high)]) + start
    tail = (torch.arange(after) + start + max(high, wide)).expand(3, -1)
    return torch.nn.functional.pad(torch.cat([head, picture, tail], dim=1), (0, longest - len(ids)))


def with_inputs(
    monkeypatch: pytest.MonkeyPatch, model: hpsv3.RewardModel, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """The language model gets other inputs than it is given."""
    forward = model.language_model.forward
    monkeypatch.setattr(model.language_model, "forward", lambda **inputs: forward(**change(inputs)))


@pytest.mark.parametrize("which", ["text", "vision"])
def test_exact_frequencies_are_not_those_that_the_model_was_trained_with(
    which: str, tiny: ScorerSpec, batch: Batch
) -> None:
    model = loaded(tiny)
    if which == "text":
        exact = hpsv3.Qwen2VLRotaryEmbedding(config=model.language_model.config)
        model.language_model.rotary_emb = exact
    else:
        model.visual.rotary_pos_emb = hpsv3.Qwen2VLVisionRotaryEmbedding(model.visual.config)
    scores = read(model, batch, [up_to_reward(ids) for ids in GOLDEN["ids"]])[:, 0]
    assert np.abs(scores - MU).max() > 10 * CLOSE


def test_padding_on_the_left_would_be_read(
    model: hpsv3.RewardModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [up_to_reward(each) for each in GOLDEN["ids"]]
    room = [max(len(row) for row in ids) - len(row) for row in ids]
    forward = model.language_model.forward

    def left(**inputs: Any) -> Any:
        moved = torch.stack([row.roll(by, 0) for row, by in zip(inputs["inputs_embeds"], room, strict=True)])
        out = forward(**{**inputs, "inputs_embeds": moved})
        back = [row.roll(-by, 0) for row, by in zip(out.last_hidden_state, room, strict=True)]
        out.last_hidden_state = torch.stack(back)
        return out

    monkeypatch.setattr(model.language_model, "forward", left)
    moved = [place for place, by in enumerate(room) if by]
    assert np.abs(read(model, batch, ids)[:, 0] - MU)[moved].min() > 50 * CLOSE


def test_an_item_scores_the_same_alone_in_company_and_in_any_order(tiny: ScorerSpec) -> None:
    score = hpsv3.hpsv3(tiny, Runtime())
    pictures, prompts = tiny_vlm.pictures(), tiny_vlm.PROMPTS
    items = [(2, 0), (0, 1), (2, 1), (1, 1), (0, 0), (0, 2), (1, 0)]
    together = score(Batch.of([pictures[i] for i, _ in items], [prompts[j] for _, j in items], [VIEW]))
    back = score(Batch.of([pictures[i] for i, _ in items[::-1]], [prompts[j] for _, j in items[::-1]], [VIEW]))
    alone = [score(Batch.of([pictures[i]], [prompts[j]], [VIEW]))[0] for i, j in items]
    np.testing.assert_allclose(together, alone, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(back[::-1], alone, atol=CLOSE, rtol=0)
    in_parts = hpsv3.hpsv3(tiny, Runtime(part=2))
    parts = in_parts(Batch.of([pictures[i] for i, _ in items], [prompts[j] for _, j in items], [VIEW]))
    np.testing.assert_allclose(parts, alone, atol=CLOSE, rtol=0)


def test_words_of_a_prompt_are_never_taken_for_the_picture_or_the_reward(tiny: ScorerSpec) -> None:
    chat = requests(tiny)
    reward = SHAPES["model.embed_tokens.weight"][0] - 1
    for prompt in ("a fox <|Reward|> and {braces}", "a fox<|image_pad|><|im_end|> <|Reward|>"):
        ids = chat.text(prompt)
        assert (ids.count(reward), ids[-1]) == (1, reward)
        assert {token(word) for word in tiny_vlm.QWEN_SPECIAL} & set(ids) == {token("<|vision_end|>")}
    odd, plain = "<|image_pad|><|Reward|>", tiny_vlm.PROMPTS[1]
    score = hpsv3.hpsv3(tiny, Runtime())
    company = score(Batch.of(tiny_vlm.pictures()[:2], [odd, plain], [VIEW]))
    assert np.isfinite(company[0])
    np.testing.assert_allclose(company[1], MU[1], atol=CLOSE, rtol=0)


def test_qwens_other_tokens_in_a_prompt_are_what_the_authors_take_them_for(tiny: ScorerSpec) -> None:
    batch = Batch.of(tiny_vlm.pictures()[:1], [tiny_vlm.QWEN_TOKENS_IN_TEXT], [VIEW])
    np.testing.assert_allclose(hpsv3.hpsv3(tiny, Runtime())(batch), GOLDEN["mu_with_tokens_in_text"], atol=CLOSE)


def test_in_bfloat16_the_head_stays_exact(tiny: ScorerSpec, batch: Batch) -> None:
    half = hpsv3.built(tiny.at("bf16"))
    kinds = {name.split(".")[0]: value.dtype for name, value in half.named_parameters()}
    assert kinds == {"visual": torch.bfloat16, "language_model": torch.bfloat16, "rm_head": torch.float32}
    scores = hpsv3.hpsv3(tiny.at("bf16"), Runtime())(batch)
    assert scores.dtype == np.float32
    assert 0 < np.abs(scores - MU).max() < 0.1
    with pytest.raises(UsageError, match="hpsv3-tiny cannot run in fp16; take hpsv3-tiny:fp32 or hpsv3-tiny:bf16"):
        tiny.at("fp16")


def test_a_file_of_another_model_is_refused_by_the_first_name_that_is_wrong(tiny: ScorerSpec, tmp_path: Path) -> None:
    tensors = tiny_vlm.tensors(SHAPES)
    wrong = {
        "lacks rm_head.5.bias": {name: each for name, each in tensors.items() if name != "rm_head.5.bias"},
        "holds an unknown visual.extra": {**tensors, "visual.extra": tensors["rm_head.5.bias"]},
        r"holds rm_head.5.bias of shape \(3,\), not \(2,\)": {**tensors, "rm_head.5.bias": np.zeros(3, np.float32)},
    }
    for place, (said, state) in enumerate(wrong.items()):
        path = tmp_path / str(place) / "HPSv3.safetensors"
        path.parent.mkdir()
        save_file(state, path)
        others = [asset for asset in tiny.assets if "HPSv3.safetensors" not in asset.name]
        spec = replace(tiny, assets=(Asset("other/HPSv3.safetensors", path=path), *others))
        with pytest.raises(WeightsError, match=said):
            hpsv3.hpsv3(spec, Runtime())


def published_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of Qwen2-VL-7B-Instruct as transformers 4.45 has them, with HPSv3's head and the embedding of
    its 151,657 tokens and one: the tiny file's names at the model's card's sizes."""
    hidden, key, wide, patch, seen = 3584, 512, 18944, 1280, 5120
    layer = {
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (hidden, hidden),
        "self_attn.q_proj.bias": (hidden,),
        "self_attn.k_proj.weight": (key, hidden),
        "self_attn.k_proj.bias": (key,),
        "self_attn.v_proj.weight": (key, hidden),
        "self_attn.v_proj.bias": (key,),
        "self_attn.o_proj.weight": (hidden, hidden),
        "mlp.gate_proj.weight": (wide, hidden),
        "mlp.up_proj.weight": (wide, hidden),
        "mlp.down_proj.weight": (hidden, wide),
    }
    block = {
        **{f"norm{number}.{part}": (patch,) for number in (1, 2) for part in ("weight", "bias")},
        "attn.qkv.weight": (3 * patch, patch),
        "attn.qkv.bias": (3 * patch,),
        "attn.proj.weight": (patch, patch),
        "attn.proj.bias": (patch,),
        "mlp.fc1.weight": (4 * patch, patch),
        "mlp.fc1.bias": (4 * patch,),
        "mlp.fc2.weight": (patch, 4 * patch),
        "mlp.fc2.bias": (patch,),
    }
    return {
        "model.embed_tokens.weight": (151_658, hidden),
        **{f"model.layers.{row}.{name}": shape for row in range(28) for name, shape in layer.items()},
        "model.norm.weight": (hidden,),
        "lm_head.weight": (151_658, hidden),
        "visual.patch_embed.proj.weight": (patch, 3, 2, 14, 14),
        **{f"visual.blocks.{row}.{name}": shape for row in range(32) for name, shape in block.items()},
        "visual.merger.ln_q.weight": (patch,),
        "visual.merger.ln_q.bias": (patch,),
        "visual.merger.mlp.0.weight": (seen, seen),
        "visual.merger.mlp.0.bias": (seen,),
        "visual.merger.mlp.2.weight": (hidden, seen),
        "visual.merger.mlp.2.bias": (hidden,),
        "rm_head.0.weight": (1024, hidden),
        "rm_head.0.bias": (1024,),
        "rm_head.3.weight": (16, 1024),
        "rm_head.3.bias": (16,),
        "rm_head.5.weight": (2, 16),
        "rm_head.5.bias": (2,),
    }


def is_in_small(name: str) -> bool:
    row = re.search(r"\.(layers|blocks)\.(\d+)\.", name)
    return row is None or int(row[2]) < {"layers": 3, "blocks": 2}[row[1]]


def test_what_shapes_do_not_tell_is_the_7b_models() -> None:
    text = dict(FULL.option("text"))
    assert sum(FULL.option("mrope_section")) * 2 * text["num_attention_heads"] == text["hidden_size"]
    assert (text["num_attention_heads"], text["num_key_value_heads"], text["rms_norm_eps"]) == (28, 4, 1e-6)
    card = Qwen2VLVisionConfig()  # transformers' defaults are the 7B model's
    assert {name: getattr(card, name) for name, _ in FULL.option("vision")} == dict(FULL.option("vision"))


def test_the_full_model_has_the_published_names_and_shapes() -> None:
    layout = published_layout()
    assert SHAPES.keys() == {name for name in layout if is_in_small(name)}
    ours = {hpsv3.published_name(name): shape for name, shape in layout.items()}
    del ours[None]  # lm_head
    model = hpsv3.built(FULL)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == ours
    assert not [name for name, value in model.named_buffers() if value.is_meta]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == FULL.cost.parameters
    head = 3584 * 1024 + 1024 + 1024 * 16 + 16 + 16 * 2 + 2
    # Qwen2-VL-7B-Instruct's card: 8,291,375,616, with two tables of 152,064 words.
    assert count == 8_291_375_616 + head - (2 * 152_064 - 151_658) * 3584
