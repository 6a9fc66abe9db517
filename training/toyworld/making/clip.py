"""The toy CLIP (open_clip), and the aesthetic head: one affine map on its normalised image embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from training.toyworld import oracle
from training.toyworld.making.pictures import as_model_input, cosine_rate, drawn_by_all, random_scenes, told_steps
from training.toyworld.tokenizer import CONTEXT, QUALITY_WORDS, build_tokenizer
from training.toyworld.world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    Pictures,
    Scene,
    all_scenes,
    perfect,
    render,
)

SEED = 21
POOL = 30_000
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 96, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 0, "width": 96, "heads": 3, "layers": 2},
}


def train_clip(out: Path, *, steps: int = 1600, batch: int = 128) -> dict[str, Any]:
    """Train on pictures captioned with what they show and, half the time, how well they show it."""
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer()
    config = json.loads(json.dumps(CONFIG))
    config["text_cfg"] |= {"vocab_size": len(tokenizer), "hf_tokenizer_name": "local"}
    model = open_clip.CLIP(**config)
    _, pictures, pool = drawn_by_all(random_scenes(all_scenes(), POOL, SEED), SEED)
    plain, detailed = _captions(pictures)
    vocabulary = sorted(set(plain + detailed))
    number = {caption: i for i, caption in enumerate(vocabulary)}
    ids = _tokenise(tokenizer, vocabulary)
    caption_of = torch.tensor([[number[a], number[b]] for a, b in zip(plain, detailed, strict=True)])

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.02)
    order = torch.Generator().manual_seed(SEED)
    for step, tell in told_steps("clip", steps):
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, steps=steps, peak=1.5e-3)
        chosen = torch.randint(0, len(pool), (batch,), generator=order)
        caption = caption_of[chosen, torch.randint(0, 2, (batch,), generator=order)]
        images = model.encode_image(normalised(pool[chosen.numpy()]), normalize=True)
        texts = model.encode_text(ids[caption], normalize=True)
        logits = model.logit_scale.exp().clamp(max=100) * images @ texts.T
        # Equal captions within a batch are all right answers.
        same = (caption[:, None] == caption[None, :]).float()
        target = same / same.sum(1, keepdim=True)
        cross = torch.nn.functional.cross_entropy
        loss = (cross(logits, target) + cross(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        tell(f"loss {float(loss.detach()):.4f}")
    save_clip(model, out, config)
    return measure_clip(model.eval(), ids_of=lambda texts: _tokenise(tokenizer, texts))


def save_clip(model: torch.nn.Module, out: Path, config: dict[str, Any]) -> None:
    """Write an open_clip `local-dir:` folder: config, tokenizer and float16 safetensors."""
    out.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save_pretrained(out)
    preprocess = {
        "size": 64,
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=1, sort_keys=True)
    (out / "open_clip_config.json").write_text(text + "\n")
    state = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")


def load_clip(path: Path) -> torch.nn.Module:
    """The saved model in float32, without its preprocessing."""
    return open_clip.create_model(f"local-dir:{path}", precision="fp32").eval()


def normalised(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, 64, 64, 3) to CLIP's normalised float32 (N, 3, 64, 64)."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    return (as_model_input(images) / 2 + 0.5 - mean) / std


def embed_images(model: torch.nn.Module, images: np.ndarray) -> torch.Tensor:
    """L2-normalised image embeddings, float32 (N, embed_dim)."""
    with torch.no_grad():
        parts = [
            model.encode_image(normalised(images[i : i + 256]), normalize=True) for i in range(0, len(images), 256)
        ]
    return torch.cat(parts)


def measure_clip(model: torch.nn.Module, *, ids_of: Any) -> dict[str, Any]:
    """Retrieval among the prompts of all scenes, on pictures that training never drew; chance is 1 in 150."""
    scenes = all_scenes()
    with torch.no_grad():
        texts = model.encode_text(ids_of([scene.prompt for scene in scenes]), normalize=True)
    flawless = np.concatenate([render(perfect(scene)) for scene in scenes])
    clean = embed_images(model, flawless) @ texts.T
    _, pictures, images = drawn_by_all(random_scenes(scenes, 3000, SEED + 1), SEED + 1)
    shown = [scenes.index(scene) for scene in scenes_shown(pictures)]
    ranks = embed_images(model, images) @ texts.T
    top = ranks.topk(5, dim=1).indices
    target = torch.tensor(shown)[:, None]
    return {
        "retrieval_top1_flawless": round(float((clean.argmax(1) == torch.arange(len(scenes))).float().mean()), 4),
        "retrieval_top1": round(float((top[:, :1] == target).float().mean()), 4),
        "retrieval_top5": round(float((top == target).any(1).float().mean()), 4),
        "candidates": len(scenes),
    }


def train_aesthetic(clip: Path, out: Path, *, ratings: int = 8000) -> dict[str, Any]:
    """Ridge regression from the embedding to noisy ratings, 1 (poor) to 10; returns held-out correlation."""
    model = load_clip(clip)
    scenes, _, images = drawn_by_all(random_scenes(all_scenes(), ratings + 2000, SEED + 2), SEED + 2)
    verdict = oracle.judge(images, [scene.prompt for scene in scenes])
    beauty = 1 + 9 * (0.5 * verdict.sharpness + 0.5 * verdict.evenness)
    rng = np.random.default_rng(SEED + 3)
    order = rng.permutation(len(images))
    features = embed_images(model, images).numpy()[order]
    beauty = beauty[order]
    rated = beauty + rng.normal(0, 1.0, len(beauty))
    design = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    ridge = 1e-3 * np.eye(design.shape[1])
    ridge[-1, -1] = 0
    seen = design[:ratings].astype(np.float64)
    weights = np.linalg.solve(seen.T @ seen + ridge, seen.T @ rated[:ratings])
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "weight": torch.tensor(weights[None, :-1], dtype=torch.float32),
            "bias": torch.tensor(weights[-1:], dtype=torch.float32),
        },
        out / "aesthetic_head.safetensors",
    )
    predicted = design[ratings:] @ weights
    return {"rating_correlation": round(float(np.corrcoef(predicted, beauty[ratings:])[0, 1]), 4)}


def scenes_shown(pictures: Pictures) -> list[Scene]:
    """What the pictures really show, wrong attributes included."""
    colours, backgrounds = list(COLOURS), list(BACKGROUNDS)
    return [
        Scene(colours[c], SHAPES[s], backgrounds[b])
        for c, s, b in zip(pictures.colour, pictures.shape, pictures.background, strict=True)
    ]


def _captions(pictures: Pictures) -> tuple[list[str], list[str]]:
    plain = [scene.prompt for scene in scenes_shown(pictures)]

    def words(soft: float, stained: float, faded: float) -> list[str]:
        flaws = [w for w, level in zip(QUALITY_WORDS[1:], (soft, stained, faded), strict=True) if level > 0.3]
        return flaws or ([QUALITY_WORDS[0]] if max(soft, stained, faded) < 0.12 else [])

    levels = zip(pictures.softness, pictures.stains, pictures.fade, strict=True)
    return plain, [", ".join([p, *words(*level)]) for p, level in zip(plain, levels, strict=True)]


def _tokenise(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
    return encoded.input_ids
