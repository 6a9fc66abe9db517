"""The toy preference model: the toy CLIP fine-tuned on noisy human pairs by PickScore's objective.

score = exp(logit_scale) · cos(image, text); the loss is the cross-entropy of the softmax over a pair's two scores
against its labels (a tie is ½, ½). Source: Kirstain et al. 2023, "Pick-a-Pic", section 4.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.toyworld import oracle
from training.toyworld.making.clip import _tokenise, load_clip, normalised, save_clip
from training.toyworld.making.pictures import cosine_rate, drawn_by_all, random_scenes, told_steps
from training.toyworld.raters import hire_raters, label_pairs
from training.toyworld.tokenizer import build_tokenizer
from training.toyworld.world import Scene, held_out_scenes, train_scenes

SEED = 31
NOISE = 0.25


def train_preference(
    clip: Path, out: Path, *, pairs: int = 20_000, steps: int = 1200, batch: int = 64
) -> dict[str, Any]:
    """Fine-tune on pairs of train scenes with noisy labels; returns pair accuracy on held-out scenes."""
    torch.manual_seed(SEED)
    model = load_clip(clip).train()
    prompts, first, second = _pairs(train_scenes(), pairs, SEED)
    utility = [oracle.judge(images, prompts).utility for images in (first, second)]
    raters = hire_raters(60, noise=NOISE, seed=SEED)
    label = torch.from_numpy(label_pairs(raters, utility[0] - utility[1], np.random.default_rng(SEED)))
    ids = _tokenise(build_tokenizer(), prompts)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.05)
    order = torch.Generator().manual_seed(SEED)
    for step, tell in told_steps("preference", steps):
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, steps=steps, peak=4e-4)
        chosen = torch.randint(0, pairs, (batch,), generator=order)
        both = np.concatenate([first[chosen.numpy()], second[chosen.numpy()]])
        pixels = normalised(both)
        if step % 2:
            pixels = pixels.flip(3)
        score = _scores(model, pixels, ids[chosen].repeat(2, 1)).view(2, batch)
        target = torch.stack([label[chosen], 1 - label[chosen]])
        loss = -(target * score.log_softmax(0)).sum(0).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        tell(f"loss {float(loss.detach()):.4f}")
    config = json.loads((clip / "open_clip_config.json").read_text())["model_cfg"]
    save_clip(model, out, config)
    return measure_preference(out)


def measure_preference(path: Path, pairs: int = 3000) -> dict[str, Any]:
    """Share of decided held-out pairs (scenes that no training pair showed) that the model orders as the oracle."""
    model = load_clip(path)
    prompts, first, second = _pairs(held_out_scenes(), pairs, SEED + 1)
    ids = _tokenise(build_tokenizer(), prompts)
    gaps, truth = [], oracle.judge(first, prompts).utility - oracle.judge(second, prompts).utility
    with torch.no_grad():
        for i in range(0, pairs, 256):
            part = slice(i, i + 256)
            a = _scores(model, normalised(first[part]), ids[part])
            gaps.append((a - _scores(model, normalised(second[part]), ids[part])).numpy())
    gap = np.concatenate(gaps)
    decided = np.abs(truth) >= oracle.TIE_MARGIN
    raters = hire_raters(60, noise=NOISE, seed=SEED)
    given = label_pairs(raters, truth, np.random.default_rng(SEED + 2))
    voted = decided & (given != 0.5)
    return {
        "pair_accuracy": round(float((np.sign(gap) == np.sign(truth))[decided].mean()), 4),
        "rater_accuracy": round(float(((given > 0.5) == (truth > 0))[voted].mean()), 4),
        "pairs": int(decided.sum()),
    }


def _scores(model: Any, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    images = model.encode_image(pixels, normalize=True)
    texts = model.encode_text(ids, normalize=True)
    return model.logit_scale.exp() * (images * texts).sum(1)


def _pairs(world: list[Scene], count: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Prompts and two pictures of each, by generators drawn independently."""
    scenes = random_scenes(world, count, seed)
    drawn = []
    for side in (0, 1):
        shuffle = np.random.default_rng(seed + side).permutation(count)
        ordered, _, images = drawn_by_all([scenes[i] for i in shuffle], seed + 10 + side)
        # drawn_by_all deals the scenes to the generators in turn; put the pictures back in the prompts' order
        dealt = np.concatenate([shuffle[turn::3] for turn in range(3)])
        assert [s.prompt for s in ordered] == [scenes[i].prompt for i in dealt]
        back = np.empty_like(images)
        back[dealt] = images
        drawn.append(back)
    return [scene.prompt for scene in scenes], drawn[0], drawn[1]
