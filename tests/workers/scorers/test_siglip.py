"""SigLIP 2 on a tiny model of noise: open_clip's and timm's towers against transformers' SiglipModel."""

import numpy as np
import pytest
import torch
from transformers import SiglipConfig, SiglipModel

from tests.workers.clip_scorers import ATOL, BLOCK, cropped, scores
from tests.workers.tiny_clip import normalised
from tests.workers.tiny_siglip import SHORT, siglip_spec
from workers.scorers import clip
from workers.scorers.base import ScorerSpec
from workers.scorers.runtime import Runtime
from workers.scorers.tokens import siglip2_tokens
from workers.scorers.views import squash


def siglip_by_transformers(state: dict[str, torch.Tensor]) -> SiglipModel:
    """The same parameters in transformers' SiglipModel, which has the projections of text and image in its towers."""
    model = SiglipModel(
        SiglipConfig(
            vision_config={
                **{"hidden_size": 36, "intermediate_size": int(36 * 3.7362), "num_hidden_layers": 3},
                **{"num_attention_heads": 3, "image_size": 32, "patch_size": 8},
            },
            text_config={
                **{"vocab_size": 31, "hidden_size": 20, "intermediate_size": int(20 * 3.7362), "projection_size": 36},
                **{"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64},
            },
        )
    ).eval()
    names = {
        "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
        "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    }
    stems = {
        "text_model.final_layer_norm": "text.ln_final",
        "text_model.head": "text.text_projection",
        "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
        "vision_model.post_layernorm": "visual.trunk.norm",
        "vision_model.head.attention.out_proj": "visual.trunk.attn_pool.proj",
        "vision_model.head.layernorm": "visual.trunk.attn_pool.norm",
        "vision_model.head.mlp.fc1": "visual.trunk.attn_pool.mlp.fc1",
        "vision_model.head.mlp.fc2": "visual.trunk.attn_pool.mlp.fc2",
    }
    seen = {
        **{"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj"},
        **{"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"},
    }
    given = {}
    for key, value in model.state_dict().items():
        stem, _, kind = key.rpartition(".")
        if key in ("logit_scale", "logit_bias"):
            given[key] = state[key].reshape(value.shape)
        elif key in names:
            given[key] = state[names[key]].reshape(value.shape)
        elif stem in stems:
            given[key] = state[f"{stems[stem]}.{kind}"]
        elif stem == "vision_model.head.attention":
            kind = kind.removeprefix("in_proj_")
            pool = "visual.trunk.attn_pool"
            given[key] = torch.cat([state[f"{pool}.q.{kind}"], state[f"{pool}.kv.{kind}"]])
        else:
            tower, place, module = stem.replace(".encoder.layers.", "|", 1).replace(".", "|", 1).split("|")
            text = tower == "text_model"
            block = f"text.transformer.resblocks.{place}" if text else f"visual.trunk.blocks.{place}"
            inner = (BLOCK if text else seen).get(module)
            fused = f"{block}.attn.in_proj_{kind}" if text else f"{block}.attn.qkv.{kind}"
            third = "qkv".find(module.removeprefix("self_attn.")[0])
            given[key] = state[f"{block}.{inner}.{kind}"] if inner else state[fused].chunk(3)[third]
    model.load_state_dict(given)
    return model


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScorerSpec, dict[str, torch.Tensor]]:
    return siglip_spec(tmp_path_factory.mktemp("siglip"))


def test_siglip_is_the_cosine_of_transformers_own_model(siglip: tuple[ScorerSpec, dict[str, torch.Tensor]]) -> None:
    made, state = siglip
    model = siglip_by_transformers(state)
    ids = siglip2_tokens(made.path("tokenizer.json"), 64)(SHORT)
    pixels = normalised(cropped(squash(32)), (0.5,) * 3, (0.5,) * 3)
    with torch.no_grad():
        out = model(input_ids=torch.from_numpy(ids), pixel_values=pixels)
    # SigLIP's logit is an increasing map of the cosine that is stored: exp(logit_scale) · cos + logit_bias.
    cosines = scores(clip.clip_score(made, Runtime()), SHORT, squash(32))
    assert np.ptp(cosines) > 0.05
    np.testing.assert_allclose(out.image_embeds @ out.text_embeds.T, cosines, rtol=0, atol=ATOL)
    logits = np.exp(3) * cosines + float(state["logit_bias"])
    np.testing.assert_allclose(out.logits_per_image, logits, rtol=0, atol=np.exp(3) * ATOL)


def test_another_padding_of_siglips_prompts_would_be_noticed(
    siglip: tuple[ScorerSpec, dict[str, torch.Tensor]],
) -> None:
    made, state = siglip
    model = siglip_by_transformers(state)
    ids = siglip2_tokens(made.path("tokenizer.json"), 64)(SHORT[:2])
    left = np.stack([np.roll(row, 64 - int((row > 0).sum())) for row in ids])
    end = np.where(ids == 0, 1, ids)
    with torch.no_grad():
        right, *wrong = (
            model.get_text_features(input_ids=torch.from_numpy(each)).pooler_output
            for each in (ids, left, end, ids[:, :8])
        )
    for each in wrong:
        assert torch.cosine_similarity(right, each).max() < 0.999
