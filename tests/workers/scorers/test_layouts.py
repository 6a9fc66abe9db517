"""Keys and shapes of the published checkpoints at full size, without memory, and what does not fit a model."""

from typing import Any

import open_clip
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from tests.workers.clip_scorers import hf_clip
from tests.workers.tiny_clip import CONFIG, noisy_state, open_clip_model
from workers.scorers.catalog.clip import SPECS
from workers.scorers.layouts import built, filled, from_hf_clip, without_extras
from workers.scorers.weights import WeightsError

ON = {"precision": torch.float32, "device": "cpu"}
BY_NAME = {spec.name: spec for spec in SPECS}


def full_size(scorer: str) -> Any:
    return built(open_clip.get_model_config(BY_NAME[scorer].option("architecture")))


def count(model: torch.nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def hf_clip_of(width: int, layers: int, heads: int, text: tuple[int, int, int], act: str) -> CLIPModel:
    """The published config.json of openai/clip-vit-large-patch14 or laion/CLIP-ViT-H-14-laion2B-s32B-b79K."""
    text_width, text_layers, text_heads = text
    seen = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    read = {"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_hidden_layers": text_layers}
    with torch.device("meta"):
        return CLIPModel(
            CLIPConfig(
                projection_dim=text_width,
                vision_config=seen | {"num_attention_heads": heads, "patch_size": 14, "hidden_act": act},
                text_config=read | {"num_attention_heads": text_heads, "hidden_act": act},
            )
        )


@pytest.mark.parametrize(
    ("scorer", "keys", "millions"),
    [
        # reference/scorers.md §1 and §1.7; ViT-SO400M-16-SigLIP2-384 by open_clip, its image tower 428.3 M there.
        ("clip-l14", 446, 427.6),
        ("aesthetic-v2", 446, 427.6),
        ("clip-h14", 686, 986.1),
        ("pickscore-v1", 686, 986.1),
        ("hpsv2", 686, 986.1),
        ("hpsv2.1", 686, 986.1),
        ("siglip2-so400m", 674, 1136.0),
    ],
)
def test_a_full_size_model_has_the_published_keys_and_parameters(scorer: str, keys: int, millions: float) -> None:
    model = full_size(scorer)
    assert len(model.state_dict()) == keys
    assert count(model) / 1e6 == pytest.approx(millions, abs=0.06)
    heads = {"aesthetic-v2": 927_969}
    assert BY_NAME[scorer].cost.parameters == count(model) + heads.get(scorer, 0)
    assert all(value.is_meta for value in model.state_dict().values())


@pytest.mark.parametrize(
    ("scorer", "config"),
    [
        ("clip-l14", (1024, 24, 16, (768, 12, 12), "quick_gelu")),
        ("pickscore-v1", (1280, 32, 16, (1024, 24, 16), "gelu")),
    ],
)
def test_transformers_full_size_keys_become_open_clips(scorer: str, config: Any) -> None:
    theirs, ours = hf_clip_of(*config), full_size(scorer)
    mapped = from_hf_clip(theirs.state_dict())
    assert shapes(mapped) == shapes(ours.state_dict())
    # What no key tells: heads, eps and activation.
    for a, b in ((theirs.vision_model, ours.visual), (theirs.text_model, ours)):
        layer, block = a.encoder.layers[0], b.transformer.resblocks[0]
        assert layer.self_attn.num_heads == block.attn.num_heads
        assert layer.layer_norm1.eps == block.ln_1.eps
        assert a.config.hidden_act == {"QuickGELU": "quick_gelu", "GELU": "gelu"}[type(block.mlp.gelu).__name__]


def test_siglips_full_size_model_is_transformers() -> None:
    # config.json of google/siglip2-so400m-patch16-384, sizes as in the SigLIP 2 paper's so400m.
    sizes = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
    with torch.device("meta"):
        theirs = SiglipModel(
            SiglipConfig(
                vision_config=sizes | {"image_size": 384, "patch_size": 16},
                text_config=sizes | {"vocab_size": 256_000, "max_position_embeddings": 64, "projection_size": 1152},
            )
        )
    ours = full_size("siglip2-so400m")
    assert count(ours) == count(theirs)
    seen, read = ours.visual.trunk, ours.text
    for a, heads, norm in (
        (theirs.vision_model, seen.blocks[0].attn.num_heads, seen.blocks[0].norm1),
        (theirs.text_model, read.transformer.resblocks[0].attn.num_heads, read.transformer.resblocks[0].ln_1),
    ):
        assert a.encoder.layers[0].self_attn.num_heads == heads
        assert a.encoder.layers[0].layer_norm1.eps == norm.eps == 1e-6
    assert theirs.vision_model.head.attention.num_heads == seen.attn_pool.num_heads
    assert seen.norm.eps == seen.attn_pool.norm.eps == read.ln_final.eps == 1e-6
    assert read.attn_mask is None
    assert read.pool_type == "last"
    assert type(seen.blocks[0].mlp.act).__name__ == type(seen.attn_pool.mlp.act).__name__ == "GELUTanh"
    assert read.transformer.resblocks[0].mlp.gelu.approximate == "tanh"
    assert theirs.config.vision_config.hidden_act == theirs.config.text_config.hidden_act == "gelu_pytorch_tanh"


def test_in_float32_parameters_are_the_files_own_memory_and_nothing_is_initialised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = noisy_state(open_clip_model())
    places = {key: value.data_ptr() for key, value in state.items()}
    drawn: list[str] = []
    for name in ("normal_", "uniform_", "fill_", "zero_"):
        draw = getattr(torch.Tensor, name)

        def noted(self: torch.Tensor, *a: Any, draw: Any = draw, name: str = name, **k: Any) -> torch.Tensor:
            if not self.is_meta:
                drawn.append(name)
            return draw(self, *a, **k)

        monkeypatch.setattr(torch.Tensor, name, noted)
    model = filled(built(CONFIG), state, **ON)
    assert {key: value.data_ptr() for key, value in model.state_dict().items()} == places
    assert drawn == []
    assert state == {}
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())


def test_the_text_towers_mask_is_causal() -> None:
    model = filled(built(CONFIG), noisy_state(open_clip_model()), **ON)
    expected = torch.full((77, 77), -torch.inf).triu(1)
    assert torch.equal(model.attn_mask, expected)
    assert torch.equal(open_clip.CLIP(**CONFIG).attn_mask, expected)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("visual.proj"), "lacks 1 keys, visual.proj for one"),
        (lambda state: state.update(extra=torch.zeros(1)), "adds 1 keys, extra for one"),
        (lambda state: state.update(text_projection=torch.zeros(12, 20)), r"text_projection has the shape \(12, 20\)"),
    ],
)
def test_weights_of_another_model_are_refused_in_one_line(change: Any, told: str) -> None:
    state = noisy_state(open_clip_model())
    change(state)
    with pytest.raises(WeightsError, match=told) as refused:
        filled(built(CONFIG), state, **ON)
    assert "\n" not in str(refused.value)


def test_openais_three_numbers_are_dropped_and_no_other_key() -> None:
    extras = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    assert without_extras(extras | {"visual.proj": torch.ones(1), "epoch": torch.ones(1)}).keys() == {
        "visual.proj",
        "epoch",
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.update({"vision_model.head.weight": torch.ones(1)}), "vision_model.head.weight has no"),
        (lambda state: state.pop("text_model.encoder.layers.1.self_attn.k_proj.bias"), "has q, v of q, k and v"),
    ],
)
def test_transformers_keys_without_a_place_are_refused(change: Any, told: str) -> None:
    state = noisy_state(hf_clip(CONFIG))
    change(state)
    with pytest.raises(WeightsError, match=told):
        from_hf_clip(state)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"multimodal_cfg": {"width": 8}}, "captioning decoder"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "text tower of the Hugging Face hub"),
    ],
)
def test_configs_that_need_a_hub_or_a_decoder_are_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        built(CONFIG | config)
