"""The toy preference model: the toy CLIP fine-tuned on noisy human pairs by PickScore's objective.

score = exp(logit_scale) · cos(image, text); the loss is the cross-entropy of the softmax over a pair's two scores
against its labels (a tie is ½, ½). Source: Kirstain et al. 2023, "Pick-a-Pic", section 4.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.reward.clip import Pixels, clip_base, clip_learner, save_clip, trainable_clip
from training.reward.config import RewardConfig
from training.reward.loop import fit
from training.reward.objective import Pairs, example_weights
from training.toyworld import oracle
from training.toyworld.making.clip import _tokenise, load_clip, normalised
from training.toyworld.making.pictures import drawn_by_all, random_scenes
from training.toyworld.raters import hire_raters, label_pairs
from training.toyworld.tokenizer import build_tokenizer
from training.toyworld.world import Scene, held_out_scenes, train_scenes

SEED = 31
NOISE = 0.25
CONFIG = RewardConfig(
    kind="clip",
    learning_rate=4e-4,
    warmup=100,
    weight_decay=0.05,
    evaluate_every=100,
    patience=0,
    keep="last",
    flip=True,
    save="fp16",
    seed=SEED,
)


def train_preference(
    clip: Path, out: Path, *, pairs: int = 20_000, steps: int = 1200, batch: int = 64
) -> dict[str, Any]:
    """Fine-tune on pairs of train scenes with noisy labels, by the same loop as `pairsieve reward train`; returns pair
    accuracy on held-out scenes."""
    spec = clip_base(str(clip))
    model = trainable_clip(spec, "cpu")
    prompts, first, second = _pairs(train_scenes(), pairs, SEED)
    utility = [oracle.judge(images, prompts).utility for images in (first, second)]
    raters = hire_raters(60, noise=NOISE, seed=SEED)
    label = label_pairs(raters, utility[0] - utility[1], np.random.default_rng(SEED)).astype(np.float64)
    words, prompt = np.unique(prompts, return_inverse=True)
    places = np.arange(pairs)
    everything = Pairs(places, places + pairs, prompt, label, example_weights(prompt, "prompt"))
    pixels = Pixels(np.concatenate([first, second]), np.arange(2 * pairs), model.tokenize(words.tolist()))
    config = CONFIG.model_copy(update={"steps": steps, "batch": batch})
    found = fit(clip_learner(model, pixels, config, "cpu"), everything, None, config, progress=_told)
    sys.stderr.write(f"preference: {found.ended}, loss {found.curve[-1]['training_loss']:.4f}\n")
    save_clip(model, spec, out, half=True)
    return measure_preference(out)


def _told(_stage: str, done: int, total: int) -> None:
    if done and done % 100 == 0:
        sys.stderr.write(f"preference: {done}/{total} steps\n")


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
