"""The blocks of a training config that are no method's own. Plain data: nothing here loads a model or torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TOYWORLD = "toyworld"

Seed = Annotated[int, Field(ge=0, le=2**53)]
"""What JSON keeps exactly, and generators of numpy and torch take with room to count upwards."""


class Block(BaseModel):
    """A part of a config: fields it does not know are refused, numbers are finite, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraConfig(Block):
    """Low-rank adapters in place of full fine-tuning. The reference is the same model with its adapters off."""

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float | None = Field(default=None, gt=0, description="scale; the rank if unset")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = Field(
        default=("to_q", "to_k", "to_v", "to_out.0"), min_length=1, description="modules that get an adapter"
    )


class DataConfig(Block):
    """How a pair becomes a training example. Winner and loser always share crop, flip, prompt and noise."""

    resolution: int | None = Field(default=None, ge=8, description="side of the pictures; the model's own if unset")
    buckets: bool = Field(default=False, description="keep aspect ratios, in buckets of equal area, instead of squares")
    crop: Literal["centre", "random"] = Field(default="centre", description="random needs cache.latents: false")
    flip: bool = Field(default=False, description="mirror half of the pairs, both images alike")
    prompt_dropout: float = Field(default=0.1, ge=0, le=1, description="share of visits trained without prompt")
    empty_prompt: Literal["encoded", "zeros"] | None = Field(
        default=None,
        description='what stands for no prompt: the states of "", or zeros; unset: what the model\'s pipeline samples '
        "with, zeros for SDXL and the states of others",
    )
    ties: Literal["drop", "soft"] = Field(default="drop", description="a pair of preference ½: left out, or trained on")
    workers: int = Field(
        default=0, ge=0, le=64, description="processes that decode pictures where latents are not kept"
    )


class CacheConfig(Block):
    """What is computed once and kept on disk, keyed only by what it depends on."""

    latents: bool = Field(default=True, description="the VAE's latents of each image")
    prompts: bool = Field(default=True, description="the text encoders' states of each prompt")
    storage: Literal["float32", "float16"] = Field(
        default="float32",
        description="of latents and text states; float16 takes half the disk and rounds them, kept or not, to 11 bits",
    )
    reference_draws: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="K fixed draws (timestep, noise, dropout, flip) a pair, whose reference errors are kept; "
        "unset: fresh draws each epoch, and the reference runs in every step",
    )


class EmaConfig(Block):
    """An exponential moving average of the trained weights; what is saved, sampled and evaluated when it is on."""

    decay: float = Field(default=0.9999, gt=0, lt=1)
    warmup: bool = Field(default=True, description="let the decay rise from 0, so that short runs have an average too")
    every: int = Field(default=1, ge=1, description="optimiser steps between updates")


class FlowConfig(Block):
    """Which noise levels σ in (0, 1) a flow-matching model is trained at; of a schedule's timesteps each is as likely
    as another. SD3 (Esser et al. 2024) was trained with these defaults and shift 3."""

    density: Literal["logit-normal", "uniform"] = "logit-normal"
    mean: float = Field(default=0.0, description="of the logit-normal")
    deviation: float = Field(default=1.0, gt=0, description="of the logit-normal")
    shift: float | None = Field(
        default=None, gt=0, description="σ becomes shift·σ/(1+(shift−1)·σ); unset: the model's own, 1: as drawn"
    )


class SaveConfig(Block):
    """What a run leaves behind of its model, next to metrics and model card."""

    pipeline: bool | None = Field(
        default=None,
        description="the whole pipeline, or what was trained alone; unset: the pipeline where the rest is below 64 MiB",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="of saved weights; steps of fine-tuning are often smaller than bf16 can tell"
    )


class CheckpointConfig(Block):
    """When the whole state of a run is put aside, from which it goes on bit for bit (on the CPU). It is whenever the
    run is stopped, too."""

    every: int | None = Field(
        default=None, ge=1, description="optimiser steps between checkpoints; null: by time alone"
    )
    minutes: float | None = Field(
        default=30.0, gt=0, description="between checkpoints, besides those by steps; null: by steps alone"
    )
    keep: int = Field(default=1, ge=1, le=1000, description="how many of the latest are kept until the run is done")


class SampleConfig(Block):
    """Pictures drawn while it trains: the same prompts and seeds each time, so that one sees what changes."""

    every: int = Field(
        default=500, ge=1, description="optimiser steps between grids; one is drawn at step 0 and the end"
    )
    prompts: tuple[str, ...] = Field(default=(), description="drawn; the evaluation's first four if empty")
    images_per_prompt: int = Field(default=2, ge=1, le=16)
    inference_steps: int = Field(default=20, ge=1, le=1000)
    guidance: float = Field(default=3.0, ge=0)
    seed: Seed = 0


class WatchConfig(Block):
    """What is recorded. metrics.jsonl and TensorBoard's files are always written, whatever stands here."""

    time_buckets: int = Field(default=10, ge=1, le=100, description="ranges of timesteps that errors are kept apart by")
    samples: SampleConfig | None = Field(default=None, description="null: no pictures while it trains")
    wandb: str | None = Field(default=None, min_length=1, description="project on Weights & Biases, if installed")
    trackio: str | None = Field(default=None, min_length=1, description="project in trackio, if installed")


class HeldOutConfig(Block):
    """Pairs that a run was not trained on, by whose order its implicit reward is judged."""

    subset: str | None = Field(
        default=None,
        min_length=1,
        description="name@version; unset: the dataset's pairs of prompts that it was not trained on",
    )
    pairs: int = Field(default=256, ge=1, description="at most, chosen by hash")
    draws: int = Field(default=10, ge=1, le=1000, description="timesteps and noises a pair")


class EvaluationConfig(Block):
    """How a run is compared with its base model: same prompts, same seeds, judged pair by pair."""

    prompts: str = Field(
        default=TOYWORLD, description='a text file, one prompt a line, or "toyworld" for its held-out prompts'
    )
    images_per_prompt: int = Field(default=8, ge=1, le=1000)
    inference_steps: int = Field(default=20, ge=1, le=1000, description="DDIM steps")
    guidance: float = Field(default=3.0, ge=0, description="classifier-free guidance scale")
    seed: Seed = Field(default=1234, description="seed of the first image; the others follow")
    judges: tuple[str, ...] = Field(
        default=("oracle", "preference-toy"),
        min_length=1,
        description='scorer names, and "oracle" where the prompts are of Toyworld',
    )
    ties: dict[str, Annotated[float, Field(ge=0)] | Literal["repeatability"]] = Field(
        default_factory=dict,
        description="by judge the gap of scores up to which two images tie: a number, or repeatability, measured on "
        "pictures saved as JPEG; unset: equal scores only, the oracle's own margin",
    )
    diversity: str | None = Field(
        default="auto",
        description="scorer whose embedding tells how different images of one prompt are; auto: clip-toy for Toyworld, "
        "else the first judge that has one; null: not measured",
    )
    held_out: HeldOutConfig | None = Field(default=None, description="null: implicit accuracy is not measured")
