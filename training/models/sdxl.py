"""SDXL: two text encoders, and a UNet that is also told the picture's size and crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.models.base import Conditioning, Empty
from training.models.discrete import DiscreteDiffusion


class StableDiffusionXL(DiscreteDiffusion):
    """States are the last but one layer of both encoders side by side, pooled states the second encoder's (Podell et
    al. 2023, §2.1). The six time ids are the true sizes and crops of the pictures (§2.2)."""

    family = "sdxl"

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        states = []
        for encoder, tokenizer in zip(self.parts.text_encoders, self.parts.tokenizers, strict=True):
            output = self.at_hand(encoder)(self.token_ids(tokenizer, prompts), output_hidden_states=True)
            states.append(output.hidden_states[-2].float())
        return Conditioning({"states": torch.cat(states, dim=-1), "pooled": output.text_embeds.float()})

    @property
    def sampled_without_prompt(self) -> Empty:
        return "zeros" if self.description.index.get("force_zeros_for_empty_prompt", True) else "encoded"

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, times: Tensor, conditioning: Conditioning, geometry: Tensor
    ) -> Tensor:
        told = {"text_embeds": conditioning.tensors["pooled"], "time_ids": geometry.to(noisy.device, torch.float32)}
        states = conditioning.tensors["states"]
        prediction: Tensor = denoiser(noisy, times, states, added_cond_kwargs=told, return_dict=False)[0]
        return prediction

    def pipeline(self, denoiser: nn.Module) -> Any:
        from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

        return StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=None,
            text_encoder_2=None,
            tokenizer=None,
            tokenizer_2=None,
            unet=denoiser,
            scheduler=self.sampler(),
            add_watermarker=False,
        )

    def _told(self, conditioning: Conditioning, *, negative: bool = False) -> dict[str, Tensor]:
        before = "negative_" if negative else ""
        tensors = conditioning.tensors
        return {f"{before}prompt_embeds": tensors["states"], f"{before}pooled_prompt_embeds": tensors["pooled"]}
