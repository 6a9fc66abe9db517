"""The toy Stable-Diffusion: diffusers' UNet and transformers' CLIP text encoder, trained on Toyworld's pictures.

The pictures are those of all generators with the prompts that were asked, so the model learns their faults too:
soft edges, stains, fading and wrong attributes. That leaves preference training something to improve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from transformers import CLIPTextConfig, CLIPTextModel

from training.toyworld import oracle
from training.toyworld.making.pictures import as_model_input, cosine_rate, drawn_by_all, random_scenes, told_steps
from training.toyworld.tokenizer import CONTEXT, build_tokenizer
from training.toyworld.world import all_scenes, held_out_scenes

SEED = 41
POOL = 30_000
PROMPT_DROPOUT = 0.1
NOISE_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def build_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=48,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def build_text_encoder(vocabulary: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config)


def train_denoiser(vae_path: Path, out: Path, *, steps: int = 4000, batch: int = 64) -> dict[str, Any]:
    """Train UNet and text encoder together, save a Stable-Diffusion pipeline folder, return sample quality."""
    torch.manual_seed(SEED)
    vae = AutoencoderKL.from_pretrained(vae_path, dtype=torch.float32).eval()
    vae.register_to_config(_name_or_path="vae")  # not the folder of whoever ran this
    tokenizer = build_tokenizer()
    unet, text_encoder = build_unet(), build_text_encoder(len(tokenizer))
    scenes, _, pool = drawn_by_all(random_scenes(all_scenes(), POOL, SEED), SEED)
    latents = _encode(vae, pool)
    prompts = ["", *sorted({scene.prompt for scene in scenes})]
    ids = tokenizer(prompts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt").input_ids
    number = {prompt: i for i, prompt in enumerate(prompts)}
    prompt_of = torch.tensor([number[scene.prompt] for scene in scenes])

    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    trained = torch.nn.ModuleList([unet, text_encoder])
    optimiser = torch.optim.AdamW(trained.parameters(), lr=0.0, weight_decay=0.01)
    average = EMAModel(trained.parameters(), decay=0.998, foreach=True)
    order = torch.Generator().manual_seed(SEED)
    for step, tell in told_steps("denoiser", steps):
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, steps=steps, peak=1.5e-3)
        chosen = torch.randint(0, len(latents), (batch,), generator=order)
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=order)
        timesteps = torch.randint(0, schedule.config.num_train_timesteps, (batch,), generator=order)
        kept = torch.rand(batch, generator=order) >= PROMPT_DROPOUT
        words = text_encoder(ids[prompt_of[chosen] * kept]).last_hidden_state
        predicted = unet(schedule.add_noise(clean, noise, timesteps), timesteps, words).sample
        loss = (predicted - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
        average.step(trained.parameters())
        tell(f"loss {float(loss.detach()):.4f}")
    average.copy_to(trained.parameters())
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(out, safe_serialization=True)
    return measure_pipeline(out)


def measure_pipeline(path: Path, images_per_prompt: int = 8) -> dict[str, Any]:
    """What the oracle says of samples of the held-out prompts (20 DDIM steps, guidance 3)."""
    pipeline = StableDiffusionPipeline.from_pretrained(path, dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    prompts = [scene.prompt for scene in held_out_scenes() for _ in range(images_per_prompt)]
    images = []
    for start in range(0, len(prompts), 96):
        part = prompts[start : start + 96]
        generator = [torch.Generator().manual_seed(SEED + start + i) for i in range(len(part))]
        drawn = pipeline(part, num_inference_steps=20, guidance_scale=3.0, generator=generator, output_type="np")
        images.append(np.rint(drawn.images * 255).astype(np.uint8))
    verdict = oracle.judge(np.concatenate(images), prompts)
    parts = {name: round(float(getattr(verdict, name).mean()), 3) for name in oracle.WEIGHTS}
    return {"oracle_utility": round(float(verdict.utility.mean()), 4), "images": len(prompts), **parts}


def _encode(vae: AutoencoderKL, pool: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        parts = [vae.encode(as_model_input(pool[i : i + 256])).latent_dist.mode() for i in range(0, len(pool), 256)]
    return torch.cat(parts) * vae.config.scaling_factor
