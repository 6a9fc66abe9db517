"""Stable Diffusion 3: a transformer under flow matching, two CLIPs and perhaps a T5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.blocks import FlowConfig
from training.models.base import Conditioning, DiffusionModel, Parts
from training.models.describe import T5_TOKENS, Description
from training.precision import Precision

_TIMESTEPS = 1000


class StableDiffusion3(DiffusionModel):
    """Rectified flow (Esser et al. 2024): x_σ = (1−σ)·x₀ + σ·ε, the target is ε − x₀, the transformer is told 1000·σ.
    Without a T5 its states are zeros, as in diffusers' pipeline; they are not kept beside each prompt."""

    family = "sd3"

    def __init__(
        self,
        description: Description,
        parts: Parts,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        flow: FlowConfig | None = None,
    ) -> None:
        super().__init__(description, parts, device=device, precision=precision)
        self.flow = flow or FlowConfig()

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        states, pooled = [], []
        *clips, t5 = zip(self.parts.text_encoders, self.parts.tokenizers, strict=True)
        for encoder, tokenizer in clips:
            output = self.at_hand(encoder)(self.token_ids(tokenizer, prompts), output_hidden_states=True)
            states.append(output.hidden_states[-2].float())
            pooled.append(output.text_embeds.float())
        tensors = {"states": torch.cat(states, dim=-1), "pooled": torch.cat(pooled, dim=-1)}
        encoder, tokenizer = t5
        if encoder is not None:
            ids = self.token_ids(tokenizer, prompts, length=T5_TOKENS)
            tensors["t5"] = self.at_hand(encoder)(ids)[0].float()
        return Conditioning(tensors)

    @property
    def noise_levels(self) -> Mapping[str, Any]:
        return self.flow.model_dump(mode="json")

    def times(self, uniform: Tensor) -> Tensor:
        """σ float32 in (0, 1): the quantiles of the logit-normal (or the uniform) density, then shifted."""
        inside = uniform.double().clamp(1e-7, 1 - 1e-7)
        if self.flow.density == "logit-normal":
            inside = torch.sigmoid(self.flow.mean + self.flow.deviation * torch.special.ndtri(inside))
        shift = self.flow.shift or float(self.parts.scheduler.get("shift", 1.0))
        return (shift * inside / (1 + (shift - 1) * inside)).float()

    def noised(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        sigma = times.view(-1, 1, 1, 1).to(latents)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        del times  # a straight path: the same everywhere on it
        return noise - latents

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, times: Tensor, conditioning: Conditioning, geometry: Tensor
    ) -> Tensor:
        del geometry  # this model is not told sizes
        told = self._told(conditioning)
        prediction: Tensor = denoiser(
            noisy, told["prompt_embeds"], told["pooled_prompt_embeds"], times * _TIMESTEPS, return_dict=False
        )[0]
        return prediction

    def pipeline(self, denoiser: nn.Module) -> Any:
        from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        return StableDiffusion3Pipeline(
            transformer=denoiser,
            scheduler=FlowMatchEulerDiscreteScheduler.from_config(dict(self.parts.scheduler)),
            vae=self.vae,
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            text_encoder_3=None,
            tokenizer_3=None,
        )

    def _told(self, conditioning: Conditioning, *, negative: bool = False) -> dict[str, Tensor]:
        before, tensors = "negative_" if negative else "", conditioning.tensors
        clip, width = tensors["states"], self.denoiser.config.joint_attention_dim
        t5 = tensors.get("t5")
        if t5 is None:
            t5 = clip.new_zeros(len(clip), T5_TOKENS, width)
        states = torch.cat([nn.functional.pad(clip, (0, width - clip.shape[-1])), t5.to(clip)], dim=1)
        return {f"{before}prompt_embeds": states, f"{before}pooled_prompt_embeds": tensors["pooled"]}
