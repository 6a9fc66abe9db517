"""Writes what the authors' code of MPS gives for a tiny model of noise, for tests/workers/scorers/test_mps.py.

Runs in an environment of its own, with a checkout of Kwai-Kolors/MPS at be9027f on PYTHONPATH and with torch, einops,
transformers==4.27.4 and tokenizers==0.13.3. The authors' evaluation is run as it is, but in float32: `half` gives float
here. What it imports to read files and draw (cv2, fire, matplotlib) is not called and left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "workers")]

import tiny_mps as tiny  # noqa: E402
import torch  # noqa: E402
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast  # noqa: E402

GOLDEN = ROOT / "tests" / "workers" / "scorers" / "golden" / "mps.json"
for name in ("cv2", "fire", "matplotlib", "matplotlib.pyplot"):
    sys.modules[name] = MagicMock()

import eval_overall_mps_on_hpdv2 as evaluation  # noqa: E402
from trainer.models import clip_model  # noqa: E402


def main() -> None:
    torch.Tensor.half = torch.Tensor.float  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = tiny.write_vocabulary(Path(folder))
        tokenizer = CLIPTokenizerFast(str(vocab), str(merges), model_max_length=tiny.TINY["context"])
        CLIPModel(config()).save_pretrained(folder)
        model = loaded(folder)
    side = tiny.TINY["image_size"]
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    score = partial(
        evaluation.infer_one_sample,
        clip_model=model,
        clip_processor=processor,
        tokenizer=tokenizer,
        device="cpu",
        condition=tiny.TINY["condition"],
    )
    scores = [[float(score(picture, prompt)) for prompt in tiny.PROMPTS] for picture in tiny.pictures()]
    with torch.no_grad():
        pixels = processor(tiny.pictures()[1], return_tensors="pt")["pixel_values"]
        seen = model.model.get_image_features(pixels)[0]
    made_with = {
        "Kwai-Kolors/MPS": "be9027f",
        **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
    GOLDEN.write_text(
        json.dumps({"made_with": made_with, "scores": scores, "seen": rounded(seen.tolist())}, indent=1) + "\n"
    )


def config() -> CLIPConfig:
    shape = tiny.TINY
    towers = {
        f"{tower}_config": {
            "hidden_size": shape[f"{tower}_width"],
            "intermediate_size": shape[f"{tower}_hidden"],
            "num_hidden_layers": shape[f"{tower}_layers"],
            "num_attention_heads": shape[f"{tower}_heads"],
            "hidden_act": "gelu",
        }
        for tower in ("vision", "text")
    }
    towers["vision_config"] |= {"image_size": shape["image_size"], "patch_size": shape["patch_size"]}
    towers["text_config"] |= {"vocab_size": shape["vocabulary"], "max_position_embeddings": shape["context"]}
    return CLIPConfig(**towers, projection_dim=shape["projection"])


def loaded(folder: str) -> Any:
    """The authors' model with every tensor overwritten by the noise of its name."""
    shape, cross = tiny.TINY, clip_model.Cross_model
    heads, width = shape["cross_heads"], shape["cross_head_width"]
    clip_model.Cross_model = lambda **_: cross(
        dim=shape["projection"], layer_num=shape["cross_layers"], dim_head=width, heads=heads
    )
    model = clip_model.CLIPModel(folder).eval()
    state = {key: torch.tensor(value) for key, value in tiny.tiny_parameters(tiny.mps_layout(shape)).items()}
    told = model.load_state_dict(state, strict=False)
    assert not told.unexpected_keys, told
    assert all(key.endswith("position_ids") for key in told.missing_keys), told
    return model


def rounded(values: Any) -> Any:
    return [rounded(value) for value in values] if isinstance(values, list) else float(f"{values:.8g}")


if __name__ == "__main__":
    main()
