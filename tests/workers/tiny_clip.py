"""Tiny CLIPs whose dimensions all differ and whose every parameter is noise. Names and numbers can be read without
open_clip, by the authors' environments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.workers.noise import noise, noisy_pixels

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIDE, WIDTH, TEXT_WIDTH, DIM = 28, 24, 20, 12
CONFIG: dict[str, Any] = {
    "embed_dim": DIM,
    "vision_cfg": {
        "image_size": SIDE,
        "patch_size": 7,
        "layers": 3,
        "width": WIDTH,
        "head_width": 8,
        "mlp_ratio": 2.5,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": TEXT_WIDTH,
        "heads": 5,
        "layers": 2,
    },
}
SIZES = [(28, 28), (61, 43), (33, 70)]
PROMPTS = [
    "a red star on a sand background",
    "a “quoted” caf\u00e9 &amp; ﬁsh, ｆｕｌｌ width",
    "an <|endoftext|> in the middle of it",
]


def registered(folder: Path, name: str, config: dict[str, Any]) -> str:
    """The name under which open_clip knows a model config from now on."""
    import open_clip

    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return name


def noisy_state(model: torch.nn.Module, *, scale: float = 0.25) -> dict[str, torch.Tensor]:
    """A state dict of noise by key; norms lie about one and the logit scale is 3.0."""
    state = {}
    for key, value in model.state_dict().items():
        values = torch.as_tensor(noise(key, tuple(value.shape), scale=scale))
        if ("ln_" in key or "norm" in key) and key.endswith("weight"):
            values += 1
        state[key] = torch.full_like(values, 3.0) if key == "logit_scale" else values
    return state


def open_clip_model(config: dict[str, Any] = CONFIG) -> Any:
    """On the meta device: for its keys and shapes."""
    import open_clip

    family = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    with torch.device("meta"):
        return family(**{key: value for key, value in config.items() if key != "custom_text"})


def pictures() -> list[Image.Image]:
    return [Image.fromarray(noisy_pixels(f"picture {w}x{h}", (h, w, 3))) for w, h in SIZES]


def normalised(images: list[np.ndarray], mean: Any = CLIP_MEAN, std: Any = CLIP_STD) -> torch.Tensor:
    """float32 (n, 3, height, width) by the formula, in float64, of uint8 or 0 to 1 pictures (height, width, 3)."""
    values = [image / 255 if image.dtype == np.uint8 else image.astype(np.float64) for image in images]
    return torch.tensor(((np.stack(values) - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)).float()
