"""The toy VAE: diffusers' AutoencoderKL, 64 px to 8×8×4 latents, trained until it carries what raters see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from training.toyworld import oracle
from training.toyworld.making.pictures import (
    as_model_input,
    as_pixels,
    cosine_rate,
    drawn_by_all,
    random_scenes,
    told_steps,
)
from training.toyworld.world import all_scenes, held_out_scenes

SEED = 11
POOL = 18_000


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        # Four channels a group, as in Stable Diffusion. One channel a group would normalise every channel over the
        # whole picture, and the decoder would paint rings to smuggle the lost brightness through.
        norm_num_groups=2,
        sample_size=64,
    )


def train_vae(out: Path, *, steps: int = 4500, batch: int = 32) -> dict[str, Any]:
    """Train, save to `out` (diffusers layout) and return what it reaches on held-out pictures."""
    torch.manual_seed(SEED)
    vae = build_vae()
    _, _, pool = drawn_by_all(random_scenes(all_scenes(), POOL, SEED), SEED)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=0.0, weight_decay=1e-4)
    order = torch.Generator().manual_seed(SEED)
    for step, tell in told_steps("vae", steps):
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, steps=steps, peak=2e-3)
        chosen = torch.randint(0, len(pool), (batch,), generator=order)
        pixels = as_model_input(pool[chosen.numpy()])
        if step % 2:
            pixels = pixels.flip(3)
        posterior = vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=order)
        rebuilt = vae.decode(posterior.mean + posterior.std * noise).sample
        error = rebuilt - pixels
        loss = error.square().mean() + 0.1 * error.abs().mean() + 1e-6 * posterior.kl().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        tell(f"mse {float(error.detach().square().mean()):.5f}")
    vae.eval()
    with torch.no_grad():
        means = [vae.encode(as_model_input(pool[i : i + 256])).latent_dist.mean for i in range(0, min(2048, POOL), 256)]
    vae.register_to_config(scaling_factor=float(1 / torch.cat(means).std()))
    vae.half().save_pretrained(out, safe_serialization=True)
    return measure_vae(out)


def measure_vae(path: Path, pairs: int = 2000) -> dict[str, Any]:
    """PSNR in dB over held-out pictures, and how often the oracle's verdict on a pair survives the VAE."""
    vae = AutoencoderKL.from_pretrained(path, dtype=torch.float32).eval()
    scenes = random_scenes(held_out_scenes(), 3 * pairs, SEED + 1)
    ordered, _, images = drawn_by_all(scenes, SEED + 1)
    partner = _partners([scene.prompt for scene in ordered])
    with torch.no_grad():
        rebuilt = np.concatenate(
            [
                as_pixels(vae.decode(vae.encode(as_model_input(images[i : i + 256])).latent_dist.mode()).sample)
                for i in range(0, len(images), 256)
            ]
        )
    error = ((images.astype(np.float64) - rebuilt) / 255) ** 2
    psnr = float(np.mean(10 * np.log10(1 / np.maximum(error.mean((1, 2, 3)), 1e-10))))
    prompts = [scene.prompt for scene in ordered]
    before, after = (oracle.judge(pixels, prompts).utility for pixels in (images, rebuilt))
    first, second = partner
    gap, kept_gap = before[first] - before[second], after[first] - after[second]
    decided = np.abs(gap) >= oracle.TIE_MARGIN
    return {
        "psnr_db": round(psnr, 2),
        "pairs": int(decided.sum()),
        "oracle_verdict_kept": round(float((np.sign(gap) == np.sign(kept_gap))[decided].mean()), 4),
        "utility_correlation": round(float(np.corrcoef(before, after)[0, 1]), 4),
    }


def _partners(prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of pictures of equal prompts, shuffled and paired off."""
    order = np.random.default_rng(SEED + 2).permutation(len(prompts))
    waiting: dict[str, int] = {}
    first, second = [], []
    for index in order:
        other = waiting.pop(prompts[index], None)
        if other is None:
            waiting[prompts[index]] = int(index)
        else:
            first.append(other)
            second.append(int(index))
    return np.array(first), np.array(second)
