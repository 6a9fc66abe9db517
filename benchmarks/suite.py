"""Five scorers of full size for benchmarks: random weights in the authors' published layouts, and pairs of pictures
that share images as Pick-a-Pic's do. Tiny ones of the same layouts, so that tests can run what is measured."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from workers.scorers.base import ScorerSpec
from workers.scorers.blip import BlipShape, text_tower, vision_key, vision_tower
from workers.scorers.catalog import blip, clip
from workers.scorers.layouts import built

NAMES = ("clip-l14", "aesthetic-v2", "pickscore-v1", "hpsv2.1", "imagereward-v1")
SIDE = 512

_TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 224, "patch_size": 56, "layers": 2, "width": 24, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 20, "heads": 5, "layers": 2},
}
_TINY_BLIP = {
    **{"patch_size": 56, "vision_width": 32, "vision_layers": 2, "vision_heads": 4},
    **{"text_width": 24, "text_layers": 2, "text_heads": 3, "text_hidden": 48},
}
_MLP = (1024, 128, 64, 16, 1)


@dataclass(frozen=True)
class Pair:
    """A prompt and the two files that were drawn for it."""

    prompt: str
    images: tuple[Path, Path]


def suite(folder: Path, *, tiny: bool = False, names: Sequence[str] = NAMES) -> dict[str, ScorerSpec]:
    """The specs of these names with files of random weights below `folder`, written unless they are there: 9.5 GB for
    all, or with `tiny` a few megabytes."""
    specs = {spec.name: spec for spec in (*clip.SPECS, *blip.SPECS)}
    return {name: _placed(specs[name], folder, tiny) for name in names}


def write_pairs(folder: Path, *, prompts: int, per_prompt: int, side: int = SIDE, seed: int = 0) -> list[Pair]:
    """`prompts` × `per_prompt` pairs in `folder`, and a `pairs.csv` that ingest reads. The pairs of a prompt are a
    chain: each shares an image with the one before, as in Pick-a-Pic, which has 1.07 images a pair."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for number in range(prompts):
        text = f"number {number}: an oil painting of a lighthouse in a storm, dramatic light, highly detailed"
        files = [folder / f"{number}-{place}.jpg" for place in range(per_prompt + 1)]
        for place, file in enumerate(files):
            file.write_bytes(photograph(side, seed=seed + 1000 * number + place))
        pairs += [Pair(text, (files[place], files[place + 1])) for place in range(per_prompt)]
    lines = [f'"{pair.prompt}",{pair.images[0].name},{pair.images[1].name},0' for pair in pairs]
    (folder / "pairs.csv").write_text("\n".join(["prompt,image_0,image_1,label", *lines]) + "\n")
    return pairs


def photograph(side: int, *, seed: int) -> bytes:
    """A JPEG of about a third of a byte a pixel: large shapes with fine grain, not noise alone."""
    made = np.random.default_rng(seed)
    shapes = Image.fromarray(made.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((side, side), 3)
    grain = np.asarray(shapes, np.int16) + made.integers(-10, 11, (side, side, 3), dtype=np.int16)
    out = io.BytesIO()
    Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def clip_config(spec: ScorerSpec) -> dict[str, Any]:
    """The architecture of a CLIP spec, as open_clip has it."""
    config: dict[str, Any] = open_clip.get_model_config(spec.option("architecture"))
    return config


def _placed(spec: ScorerSpec, folder: Path, tiny: bool) -> ScorerSpec:
    if tiny:
        changed = dict(spec.options) | (_TINY_BLIP if "vision_width" in dict(spec.options) else _tiny_clip(folder))
        spec = replace(spec, options=tuple(changed.items()))
    assets = tuple(replace(asset, source="", sha256=None, path=folder / asset.name) for asset in spec.assets)
    spec = replace(spec, assets=assets)
    for asset in assets:
        if asset.path is not None and not asset.path.exists():
            asset.path.parent.mkdir(parents=True, exist_ok=True)
            _write(spec, asset.path)
    return spec


def _tiny_clip(folder: Path) -> dict[str, str]:
    path = folder / "benchmark-tiny.json"
    path.write_text(json.dumps(_TINY_CLIP))
    open_clip.add_model_config(path)
    return {"architecture": path.stem}


def _write(spec: ScorerSpec, path: Path) -> None:
    name = path.name
    if name == "open_clip_model.safetensors":
        save_file(dict(_noise(_clip_layout(spec), torch.float32)), path)
    elif name == "model.safetensors":
        save_file(dict(_noise(_hf_layout(spec), torch.float32)), path)
    elif name.startswith("HPS_v2"):
        torch.save({"state_dict": dict(_noise(_clip_layout(spec), torch.float16))}, path)
    elif name == "ImageReward.pt":
        torch.save(dict(_noise(_reward_layout(spec), torch.float32)), path)
    elif name.endswith("linearMSE.pth"):
        width = clip_config(spec)["embed_dim"]
        torch.save(dict(_noise(_mlp("layers", width), torch.float32)), path)
    elif name == "vocab.txt":
        path.write_text("\n".join(_word_pieces()) + "\n")
    else:
        _write_clip_vocabulary(path)


def _noise(layout: dict[str, tuple[int, ...]], dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters that keep activations alive: norms about 1, products about their inputs' size."""
    made = torch.Generator().manual_seed(0)
    for key, shape in layout.items():
        if key == "logit_scale":
            yield key, torch.tensor(4.6052, dtype=dtype)
        elif key.endswith("position_ids"):
            yield key, torch.arange(shape[-1])[None]
        else:
            norm = key.endswith("weight") and len(shape) == 1
            spread = 0.02 if len(shape) < 2 else min(0.02, shape[-1] ** -0.5)
            values = torch.empty(shape).normal_(1.0 if norm else 0.0, spread, generator=made)
            yield key, values.to(dtype)


def _clip_layout(spec: ScorerSpec) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in built(clip_config(spec)).state_dict().items()}


def _hf_layout(spec: ScorerSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in hf_model(spec).state_dict().items()}


def hf_model(spec: ScorerSpec) -> Any:
    """The architecture of a CLIP spec as transformers has it."""
    from transformers import CLIPConfig, CLIPModel

    config = clip_config(spec)
    image, text = config["vision_cfg"], config["text_cfg"]
    vision = {
        "hidden_size": image["width"],
        "intermediate_size": 4 * image["width"],
        "num_hidden_layers": image["layers"],
        "num_attention_heads": image["width"] // image.get("head_width", 64),
        "image_size": image["image_size"],
        "patch_size": image["patch_size"],
    }
    words = {
        "hidden_size": text["width"],
        "intermediate_size": 4 * text["width"],
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
        "vocab_size": text["vocab_size"],
        "eos_token_id": 49407,
        "bos_token_id": 49406,
    }
    shared = {"hidden_act": "gelu", "projection_dim": config["embed_dim"]}
    return CLIPModel(
        CLIPConfig(vision_config=vision | shared, text_config=words | shared, projection_dim=config["embed_dim"])
    )


def _reward_layout(spec: ScorerSpec) -> dict[str, tuple[int, ...]]:
    shape = BlipShape.of(spec)
    vision = vision_tower(shape).state_dict()
    keys = {vision_key(key): key for key in _timm_keys(shape.vision_layers)}
    layout = {f"blip.visual_encoder.{keys[key]}": tuple(value.shape) for key, value in vision.items()}
    text = text_tower(shape, looks=True).state_dict()
    layout |= {f"blip.text_encoder.{key}": tuple(value.shape) for key, value in text.items()}
    layout["blip.text_encoder.embeddings.position_ids"] = (1, shape.positions)
    for side, width in (("vision", shape.vision_width), ("text", shape.text_width)):
        layout |= {f"blip.{side}_proj.weight": (256, width), f"blip.{side}_proj.bias": (256,)}
    return layout | _mlp("mlp.layers", shape.text_width)


def _timm_keys(layers: int) -> list[str]:
    inner = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    names = ["patch_embed.proj", "norm", *(f"blocks.{n}.{part}" for n in range(layers) for part in inner)]
    return ["cls_token", "pos_embed", *(f"{name}.{kind}" for name in names for kind in ("weight", "bias"))]


def _mlp(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    layout: dict[str, tuple[int, ...]] = {}
    for place, out in zip((0, 2, 4, 6, 7), _MLP, strict=True):
        layout |= {f"{prefix}.{place}.weight": (out, width), f"{prefix}.{place}.bias": (out,)}
        width = out
    return layout


def _word_pieces() -> list[str]:
    """30,522 entries in bert-base-uncased's order of kinds: specials where it has them, letters, and made-up words."""
    words = ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words += letters + [f"##{letter}" for letter in letters]
    return words + [f"word{n}" for n in range(30_522 - len(words))]


def _write_clip_vocabulary(path: Path) -> None:
    words = open_clip.SimpleTokenizer()
    if path.name == "vocab.json":
        named = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
        path.write_text(json.dumps({named.get(word, word): place for word, place in words.encoder.items()}), "utf-8")
    else:
        path.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in words.bpe_ranks), "utf-8")
