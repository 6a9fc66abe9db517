"""Stable Diffusion 1.x and 2.x: one text encoder, a UNet that looks at its states by cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.models.base import Conditioning
from training.models.discrete import DiscreteDiffusion


class StableDiffusion(DiscreteDiffusion):
    """SD 1.x takes the last layer of CLIP ViT-L/14; SD 2.x the last but one of OpenCLIP ViT-H/14, whose diffusers
    config ends there, so both are the last states of what is loaded, normalised."""

    family = "sd"

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        (encoder,), (tokenizer,) = self.parts.text_encoders, self.parts.tokenizers
        encoded = tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).to(self.device)
        masked = getattr(encoder.config, "use_attention_mask", None)
        mask = encoded.attention_mask if masked else None
        states = self.at_hand(encoder)(encoded.input_ids, attention_mask=mask).last_hidden_state
        return Conditioning({"states": states.float()})

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, times: Tensor, conditioning: Conditioning, geometry: Tensor
    ) -> Tensor:
        del geometry  # these models are not told sizes
        prediction: Tensor = denoiser(noisy, times, conditioning.tensors["states"], return_dict=False)[0]
        return prediction

    def pipeline(self, denoiser: nn.Module) -> Any:
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

        return StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=None,
            tokenizer=None,
            unet=denoiser,
            scheduler=self.sampler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def _told(self, conditioning: Conditioning, *, negative: bool = False) -> dict[str, Tensor]:
        return {"negative_prompt_embeds" if negative else "prompt_embeds": conditioning.tensors["states"]}
