"""Puts an open_clip model together from a config and a checkpoint: built without memory, keys mapped to open_clip's by
an explicit map, every parameter taken from the file and none initialised first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import open_clip
import torch

from workers.scorers.weights import WeightsError

State = dict[str, torch.Tensor]

FLOAT32 = (
    *("visual.ln_post", "visual.proj", "visual.attn_pool", "visual.attn_pool_contrastive", "visual.head"),
    *("visual.trunk.norm", "visual.trunk.attn_pool", "visual.trunk.fc_norm", "visual.trunk.head"),
    *("ln_final", "text_projection", "text.ln_final", "text.text_projection", "logit_scale", "logit_bias"),
)
"""What stays in float32 in every precision: the pooling and what comes after it."""

_UNSUPPORTED = {
    "multimodal_cfg": "a captioning decoder",
    "hf_model_name": "a text tower of the Hugging Face hub",
    "hf_hub_model": "a tower of the Hugging Face hub",
}

_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep beside the parameters."""

_HF_DROPPED = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""Buffers of older transformers: 0, 1, 2, …"""

_HF_WHOLE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_HF_TURNED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_HF_TOWERS = {"text_model.encoder.layers.": "transformer.", "vision_model.encoder.layers.": "visual.transformer."}
_HF_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_HF_LAYER = re.compile(r"((?:text|vision)_model\.encoder\.layers\.)(\d+)\.(.+)\.(weight|bias)")


def built(config: Mapping[str, Any]) -> Any:
    """The open_clip model of a `model_cfg`, on the meta device: shapes without memory. WeightsError for what such a
    config may ask for and this cannot give."""
    config = dict(config)
    asked = {**config, **config.get("text_cfg", {})}
    for key, what in _UNSUPPORTED.items():
        if asked.get(key):
            raise WeightsError(
                f"the model's config asks for {what} ({key}), which is not supported",
                code="weights-unsupported",
                hint="take a model whose towers are open_clip's own or timm's",
            )
    config["vision_cfg"] = {**config["vision_cfg"], "timm_model_pretrained": False}
    family = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        return family(**config)


def filled(model: Any, state: State, *, precision: torch.dtype, device: str) -> Any:
    """A model of `built`, its parameters those of `state` (which is emptied on the way) on `device`: the blocks in
    `precision`, what FLOAT32 names in float32. Ready for inference. WeightsError unless keys and shapes are equal."""
    _check_keys(model, state)
    placed = {}
    for key in list(state):
        exact = any(key == name or key.startswith(f"{name}.") for name in FLOAT32)
        placed[key] = state.pop(key).to(device, torch.float32 if exact else precision)
    model.load_state_dict(placed, strict=True, assign=True)
    _make_masks(model, device)
    if precision != torch.float32:
        for name, module in model.named_modules():
            if name in FLOAT32:
                module.register_forward_pre_hook(_in_float32)
    return model.eval().requires_grad_(False)


def without_extras(state: State) -> State:
    """An open_clip checkpoint without the three numbers that OpenAI's archives have too."""
    return {key: value for key, value in state.items() if key not in _OPENAI_EXTRAS}


def from_hf_clip(state: State) -> State:
    """The keys of transformers' CLIPModel as open_clip's. WeightsError for a key that has no place."""
    mapped: State = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        found = _HF_LAYER.fullmatch(key)
        if key in _HF_WHOLE:
            mapped[_HF_WHOLE[key]] = value
        elif key in _HF_TURNED:
            mapped[_HF_TURNED[key]] = value.T.contiguous()
        elif found and found[3] in _HF_BLOCK:
            mapped[f"{_HF_TOWERS[found[1]]}resblocks.{found[2]}.{_HF_BLOCK[found[3]]}.{found[4]}"] = value
        elif found and found[3] in {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}:
            fused = f"{_HF_TOWERS[found[1]]}resblocks.{found[2]}.attn.in_proj_{found[4]}"
            parts.setdefault(fused, {})[found[3][10]] = value
        elif key not in _HF_DROPPED:
            raise _mismatch(f"the key {key} has no place in a CLIP model")
    for fused, part in parts.items():
        if len(part) != 3:
            raise _mismatch(f"{fused} has {', '.join(sorted(part))} of q, k and v")
        mapped[fused] = torch.cat([part["q"], part["k"], part["v"]])
    return mapped


def _check_keys(model: Any, state: State) -> None:
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    if wanted.keys() != given.keys():
        lacks, more = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        told = [
            f"{what} {len(keys)} keys, {keys[0]} for one" for what, keys in (("lacks", lacks), ("adds", more)) if keys
        ]
        raise _mismatch(f"the file {' and '.join(told)}")
    for key, shape in wanted.items():
        if shape != given[key]:
            raise _mismatch(f"{key} has the shape {given[key]}, not {shape}")


def _mismatch(what: str) -> WeightsError:
    return WeightsError(
        f"the weights do not fit the model: {what}",
        code="weights-mismatch",
        hint="check that config and weights are of one model",
    )


def _make_masks(model: Any, device: str) -> None:
    """Causal masks, which no checkpoint has: minus infinity above the diagonal."""
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta:
            owner, _, last = name.rpartition(".")
            if last != "attn_mask":
                raise _mismatch(f"the model keeps {name} outside of its weights")
            setattr(model.get_submodule(owner), last, torch.full(buffer.shape, -torch.inf, device=device).triu_(1))


def _in_float32(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.float() if isinstance(each, torch.Tensor) else each for each in inputs)
