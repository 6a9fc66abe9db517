"""MPS against the authors' own evaluation (Kwai-Kolors/MPS at be9027f, run apart in float32 by
scripts/golden/make_mps.py), on a model in miniature whose every parameter is noise."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_mps import PROMPTS, TINY, cross_layout, mps_layout, pictures, tiny_parameters, write_vocabulary

from workers.scorers import mps
from workers.scorers.base import Batch, Floats, ScorerSpec
from workers.scorers.catalog.mps import SPECS
from workers.scorers.runtime import Runtime
from workers.scorers.views import hf_crop
from workers.scorers.weights import Asset, WeightsError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mps.json").read_text())
(PUBLISHED,) = SPECS
TOLERANCE = 2e-5
GRID = [(image, prompt) for image in range(3) for prompt in range(4)]


def state() -> dict[str, torch.Tensor]:
    return {key: torch.tensor(value) for key, value in tiny_parameters(mps_layout(TINY)).items()}


def spec_in(folder: Path, **changes: Any) -> ScorerSpec:
    assets = tuple(Asset(asset.name, path=folder / Path(asset.name).name) for asset in PUBLISHED.assets)
    options = tuple((TINY | changes).items())
    return dataclasses.replace(PUBLISHED, assets=assets, options=options, views=(hf_crop(TINY["image_size"]),))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    folder = tmp_path_factory.mktemp("mps")
    write_vocabulary(folder)
    save_file(state(), folder / "model.safetensors")
    return spec_in(folder)


def scores(spec: ScorerSpec, grid: list[tuple[int, int]] = GRID, part: int = 128) -> Floats:
    shown = pictures()
    images, prompts = [shown[image] for image, _ in grid], [PROMPTS[prompt] for _, prompt in grid]
    return mps.mps(spec, Runtime(part=part))(Batch.of(images, prompts, spec.views))


def golden() -> Floats:
    return np.array([GOLDEN["scores"][image][prompt] for image, prompt in GRID], np.float32)


def test_scores_are_those_of_the_authors_evaluation(spec: ScorerSpec) -> None:
    given = scores(spec)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, golden(), rtol=0, atol=TOLERANCE)


def test_image_tokens_are_projected_as_they_leave_the_last_layer(spec: ScorerSpec) -> None:
    model = mps.Mps(spec, Runtime())
    crops = torch.tensor(spec.views[0](pictures()[1]))[None]
    np.testing.assert_allclose(model._image_tokens(crops)[0], GOLDEN["seen"], rtol=0, atol=2e-5)
    # The tower's last norm, which a pooled CLIP embedding passes, would be noticed.
    model._clip.visual_projection.register_forward_pre_hook(
        lambda _, seen: (model._clip.vision_model.post_layernorm(seen[0]),)
    )
    assert np.abs(model._image_tokens(crops)[0].numpy() - GOLDEN["seen"]).max() > 1


def test_a_score_does_not_depend_on_its_neighbours_or_their_order(spec: ScorerSpec) -> None:
    together = scores(spec)
    apart = np.concatenate([scores(spec, [item]) for item in GRID])
    for other in (apart, scores(spec, GRID[::-1])[::-1], scores(spec, part=2)):
        np.testing.assert_allclose(other, together, rtol=0, atol=TOLERANCE)


def test_images_and_prompts_go_through_their_towers_once(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mps.Mps(spec, Runtime())
    passes: list[int] = []
    for tower in (model._clip.vision_model, model._clip.text_model):
        tower.register_forward_hook(lambda *_: passes.append(1))
    for _ in range(2):
        model(Batch.of([pictures()[0]] * 3, [PROMPTS[0], PROMPTS[1], PROMPTS[0]], spec.views))
    assert len(passes) == 3  # the image in both batches, the prompts in the first


def test_half_precision_towers_give_nearly_the_same_in_float32(spec: ScorerSpec) -> None:
    half = scores(spec.at("fp16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - golden()).max() < 0.1


# Negative controls: each is a mistake that nothing else would tell.


def heard(spec: ScorerSpec, threshold: float) -> list[int]:
    model = mps.Mps(spec_in(spec.path("vocab.json").parent, threshold=threshold), Runtime())
    return [len(row) - 1 for row in model._prompts.rows(PROMPTS)]


def test_the_threshold_of_the_authors_forward_pass_would_be_noticed(spec: ScorerSpec) -> None:
    # Their evaluation lets through what is above 0.3, their CLIPModel.forward what is above 0.01.
    few, many = heard(spec, 0.3), heard(spec, 0.01)
    assert all(0 < less <= more <= TINY["context"] for less, more in zip(few, many, strict=True))
    assert sum(few) < sum(many) < TINY["context"] * len(PROMPTS)
    other = spec_in(spec.path("vocab.json").parent, threshold=0.01)
    assert np.abs(scores(other) - golden()).max() > 1000 * TOLERANCE


def test_a_mask_measured_by_the_whole_batch_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_batch(tokens: torch.Tensor, condition: torch.Tensor, threshold: float) -> torch.Tensor:
        closest = (tokens @ condition.T).amax(dim=2)
        return closest / closest.max() > threshold

    monkeypatch.setattr(mps, "let_through", by_batch)
    assert np.abs(scores(spec) - golden()).max() > 1000 * TOLERANCE
    # One item at a time it is the same: there the authors' evaluation is right.
    np.testing.assert_allclose(
        np.concatenate([scores(spec, [item]) for item in GRID]), golden(), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("wrong", [{"cross_heads": 5, "cross_head_width": 14}, {"text_heads": 9}, {"vision_heads": 4}])
def test_another_number_of_heads_would_be_noticed(spec: ScorerSpec, wrong: dict[str, int]) -> None:
    other = spec_in(spec.path("vocab.json").parent, **wrong)
    if "cross_heads" in wrong:  # shared keys and values tell the width of a head
        with pytest.raises(WeightsError, match="cross model"):
            scores(other)
    else:
        assert np.abs(scores(other) - golden()).max() > 1000 * TOLERANCE


def test_a_context_without_its_padding_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    # The authors let image tokens look at end tokens up to the context's length too.
    rows = mps.Mps._heard
    monkeypatch.setattr(mps.Mps, "_heard", lambda self, prompts: [row[:4] for row in rows(self, prompts)])
    assert np.abs(scores(spec) - golden()).max() > 1000 * TOLERANCE


def test_image_tokens_without_positions_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mps, "_turned", lambda vectors, by: vectors)
    assert np.abs(scores(spec) - golden()).max() > 1000 * TOLERANCE


def test_half_of_the_gate_the_other_way_round_would_be_noticed(
    spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mps, "silu", torch.nn.functional.gelu)
    assert np.abs(scores(spec) - golden()).max() > 100 * TOLERANCE


# The checkpoint.


def test_the_cross_model_is_the_formula_written_out() -> None:
    # In float64 and head by head: multi-query attention with rotary positions, feed-forward beside it (Chowdhery et al.
    # 2022, Su et al. 2021), by plain products.
    parameters = {key: torch.tensor(value).double() for key, value in tiny_parameters(cross_layout(TINY)).items()}
    heads, width, dim, layers = (TINY[key] for key in ("cross_heads", "cross_head_width", "projection", "cross_layers"))
    generator = torch.Generator().manual_seed(0)
    seen, words = (torch.randn(n, dim, generator=generator).double() for n in (17, 6))
    stripped = {key.removeprefix("layers."): value for key, value in parameters.items()}
    ours, frequencies = mps.cross_state(stripped, heads * width)
    model = mps.Cross(dim, layers, heads, width).double()
    model.load_state_dict(ours)
    turns = [mps.angles(each.double(), 17) for each in frequencies]
    given = model(seen[None], words[None], torch.tensor([[True] * 5 + [False]]), turns)

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.cat([((head @ k.T) / math.sqrt(width)).softmax(1) @ v for head in q.split(width, 1)], 1)

    def turn(x: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
        rows = []
        for position, row in enumerate(x):
            pairs = torch.complex(row[: width // 2], row[width // 2 :]) * torch.exp(1j * position * rates.double())
            rows.append(torch.cat([pairs.real, pairs.imag]))
        return torch.stack(rows)

    def gated(x: torch.Tensor) -> torch.Tensor:
        return x[:, : 4 * dim] * x[:, 4 * dim :] * torch.sigmoid(x[:, 4 * dim :])

    def norm(x: torch.Tensor, at: str) -> torch.Tensor:
        centred = x - x.mean(1, keepdim=True)
        return (
            centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * parameters[f"{at}.norm.weight"]
            + parameters[f"{at}.norm.bias"]
        )

    for layer in range(layers):
        at = f"layers.{layer}.0.fn"
        x = norm(seen, at)
        keys, values = (words[:5] @ parameters[f"{at}.to_kv.weight"].T).split(width, 1)
        looked = attend(x @ parameters[f"{at}.to_q.weight"].T, keys, values) @ parameters[f"{at}.to_out.weight"].T
        seen = seen + looked + gated(x @ parameters[f"{at}.ff.0.weight"].T) @ parameters[f"{at}.ff.2.weight"].T
        at, rates = f"layers.{layer}.1.fn", parameters[f"layers.{layer}.1.fn.rotary_emb.inv_freq"]
        x = norm(seen, at)
        q, k, v, wide = (x @ parameters[f"{at}.fused_attn_ff_proj.weight"].T).split(
            [heads * width, width, width, 8 * dim], 1
        )
        q = torch.cat([turn(head, rates) for head in q.split(width, 1)], 1)
        mixed = attend(q, turn(k, rates), v) @ parameters[f"{at}.attn_out.weight"].T
        seen = seen + mixed + gated(wide) @ parameters[f"{at}.ff_out.1.weight"].T
    np.testing.assert_allclose(given[0].detach(), seen[0], rtol=0, atol=1e-10)


def test_a_checkpoint_may_keep_the_authors_keys_under_a_prefix(spec: ScorerSpec, tmp_path: Path) -> None:
    # So the re-host does, whose class holds the authors' as `mps`; transformers of their time kept position ids, too.
    write_vocabulary(tmp_path)
    ids = {"mps.model.text_model.embeddings.position_ids": torch.arange(TINY["context"])[None]}
    save_file({f"mps.{key}": value for key, value in state().items()} | ids, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(scores(spec_in(tmp_path)), scores(spec))


def test_a_checkpoint_of_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    for change, said in (
        ({"model.vision_model.post_layernorm.bias": None}, r"lacks vision_model\.post_layernorm\.bias"),
        ({"cross_model.layers.1.0.fn.to_q.weight": None}, r"lacks look\.1\.query\.weight"),
        ({"reward_head.weight": torch.zeros(1)}, r"unknown reward_head\.weight"),
        ({"cross_model.layers.1.0.fn.to_x.weight": torch.zeros(1)}, r"unknown look\.1\.to_x\.weight"),
        ({"cross_model.layers.1.2.weight": torch.zeros(1)}, r"unknown 1\.2\.weight"),
        ({"cross_model.layers.1.1.fn.rotary_emb.inv_freq": None}, "frequencies for 1 layers, not 2 times 5"),
    ):
        changed = {key: value for key, value in (state() | change).items() if value is not None}
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(WeightsError, match=said):
            mps.mps(spec_in(tmp_path), Runtime())


def test_the_published_layout_fits_the_model_key_by_key() -> None:
    option = dict(PUBLISHED.options)
    layout = mps_layout(option)
    cross = {key: torch.empty(size, device="meta") for key, size in cross_layout(option).items()}
    ours, frequencies = mps.cross_state({key.removeprefix("layers."): value for key, value in cross.items()}, 16 * 64)
    with torch.device("meta"):
        model = mps.Cross(1024, 4, 16, 64)
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert [each.shape for each in frequencies] == [(32,)] * 4
    # CLIP ViT-H/14 has 986,109,441 parameters (open_clip's count); with the cross model, the re-host's file of 4.42 GB.
    kept = {key: math.prod(size) for key, size in layout.items()}
    assert sum(count for key, count in kept.items() if key.startswith("model.")) == 986_109_441
    assert round(4 * sum(kept.values()) / 1e9, 2) == 4.42
    assert sum(count for key, count in kept.items() if not key.endswith("inv_freq")) == PUBLISHED.cost.parameters


def test_the_published_clip_fits_transformers_key_by_key() -> None:
    option = dict(PUBLISHED.options)
    layout = {key.removeprefix("model."): size for key, size in mps_layout(option).items() if key.startswith("model.")}
    model = mps.clip_towers(option, "float32")
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == layout
    assert (model.config.vision_config.num_attention_heads, model.config.text_config.num_attention_heads) == (16, 16)
