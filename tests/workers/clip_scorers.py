"""Scorers of tiny CLIPs, and the same models by transformers: written from the names of both, not from our key map."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from tests.workers.tiny_clip import (
    CLIP_MEAN,
    CLIP_STD,
    CONFIG,
    DIM,
    SIDE,
    TEXT_WIDTH,
    WIDTH,
    noisy_state,
    open_clip_model,
    pictures,
    registered,
)
from workers.scorers.base import Batch, ScorerSpec, View
from workers.scorers.weights import assets_in

ATOL = 1e-6
CLIP_PIXELS = (("mean", CLIP_MEAN), ("std", CLIP_STD))
TURNED = {"text_projection.weight", "visual_projection.weight"}
BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
    "logit_scale": "logit_scale",
}
NORMS = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
}


def spec(folder: Path, view: View, *, layout: str, tokenizer: str, config: dict[str, Any] | None = None) -> ScorerSpec:
    """A scorer of the weights in a folder, its architecture registered with open_clip."""
    name = registered(folder.parent, f"{folder.parent.name}-{folder.name}", config or CONFIG)
    weights = "weights.pt" if layout == "state_dict" else "weights.safetensors"
    return ScorerSpec(
        "tiny",
        "",
        "x:y",
        views=(view,),
        assets=assets_in(folder),
        options=(
            ("architecture", name),
            ("weights", weights),
            ("layout", layout),
            ("tokenizer", tokenizer),
            *CLIP_PIXELS,
        ),
    )


def scores(made: Any, prompts: list[str], view: View) -> np.ndarray:
    """What a scorer gives for each picture (rows) under each prompt (columns)."""
    seen = [(image, prompt) for image in pictures() for prompt in prompts]
    values = made(Batch.of([image for image, _ in seen], [prompt for _, prompt in seen], [view]))
    return values.reshape(len(pictures()), len(prompts))


def cropped(view: View) -> list[np.ndarray]:
    return [view(picture) for picture in pictures()]


def openai_files(folder: Path) -> tuple[Path, dict[str, Any]]:
    """OpenAI's form: quick GELU, open_clip's keys and the three numbers of OpenAI's archives."""
    folder = folder / "weights"
    folder.mkdir()
    config = CONFIG | {"quick_gelu": True}
    extras = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    save_file(noisy_state(open_clip_model(config)) | extras, folder / "weights.safetensors")
    return folder, config


def hps_files(folder: Path) -> Path:
    """HPSv2's form: open_clip's keys under `state_dict`."""
    folder = folder / "weights"
    folder.mkdir()
    torch.save({"state_dict": noisy_state(open_clip_model()), "epoch": 3}, folder / "weights.pt")
    return folder


def hf_clip(config: dict[str, Any], **text: Any) -> CLIPModel:
    """The same architecture by transformers."""
    seen, read = config["vision_cfg"], config["text_cfg"]
    act = {"hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    return CLIPModel(
        CLIPConfig(
            projection_dim=DIM,
            vision_config={
                "hidden_size": WIDTH,
                "intermediate_size": int(WIDTH * seen["mlp_ratio"]),
                "num_hidden_layers": seen["layers"],
                "num_attention_heads": WIDTH // seen["head_width"],
                "image_size": SIDE,
                "patch_size": seen["patch_size"],
            }
            | act,
            text_config={
                "vocab_size": 49408,
                "hidden_size": TEXT_WIDTH,
                "intermediate_size": TEXT_WIDTH * 4,
                "num_hidden_layers": read["layers"],
                "num_attention_heads": read["heads"],
                "max_position_embeddings": 77,
                "eos_token_id": 49407,
            }
            | act
            | text,
        )
    ).eval()


def as_hf(state: dict[str, torch.Tensor], model: CLIPModel) -> dict[str, torch.Tensor]:
    """open_clip's parameters under transformers' names: written from these, not from the map under test."""
    given = {}
    for key in model.state_dict():
        stem, _, kind = key.rpartition(".")
        if key in OUTSIDE:
            given[key] = state[OUTSIDE[key]].T if key in TURNED else state[OUTSIDE[key]]
        elif stem in NORMS:
            given[key] = state[f"{NORMS[stem]}.{kind}"]
        else:
            tower, place, module = stem.replace(".encoder.layers.", "|", 1).replace(".", "|", 1).split("|")
            block = f"{'visual.' if tower == 'vision_model' else ''}transformer.resblocks.{place}"
            if module in BLOCK:
                given[key] = state[f"{block}.{BLOCK[module]}.{kind}"]
            else:
                third = "qkv".index(module.removeprefix("self_attn.")[0])
                given[key] = state[f"{block}.attn.in_proj_{kind}"].chunk(3)[third]
    return given


def hf_scores(model: CLIPModel, pixels: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        seen = model.get_image_features(pixel_values=pixels).pooler_output
        read = model.get_text_features(input_ids=torch.from_numpy(ids)).pooler_output
    cos = (seen / seen.norm(dim=1, keepdim=True)) @ (read / read.norm(dim=1, keepdim=True)).T
    return cos.numpy()
