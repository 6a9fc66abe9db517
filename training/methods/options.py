"""The methods by name with the options of each: plain data of a training config. How they are computed is in
`training.methods.objective`, what each is good for in docs/methods.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from ranking.errors import UnknownNameError
from training.blocks import Block

BETA = "weighs the KL penalty; errors are means over a latent's elements, so 2000 to 5000 at any resolution"
DEFAULT = "dpo"


class Sft(Block):
    """Supervised fine-tuning on the winners."""

    name: Literal["sft"] = "sft"


class Guarded(Block):
    """What every method that looks at losers has."""

    safeguard: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Diffusion-SDPO's μ, which keeps the winner from being unlearnt; its authors use 0.9 for SD 1.5, "
        "0.6 for SDXL; null: off",
    )


class Dpo(Guarded):
    """Diffusion-DPO, and on flow-matching models Flow-DPO."""

    name: Literal["dpo"] = "dpo"
    beta: float = Field(default=2000.0, gt=0, description=BETA)
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="conservative DPO: the share of labels taken to be wrong, in all pairs alike",
    )
    poly: float = Field(
        default=0.0,
        ge=-1,
        le=100,
        description="Poly-DPO's α: above 0 for contradictory labels (its authors have 8 for Pick-a-Pic v2), below for "
        "trivial ones",
    )
    smpo: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="SmPO's factor κ: logits times κ·(2·preference − 1), so that undecided pairs teach little; "
        "null: off",
    )


class RobustDpo(Guarded):
    """Robust DPO: unbiased under labels that are flipped at a known rate."""

    name: Literal["robust-dpo"] = "robust-dpo"
    beta: float = Field(default=2000.0, gt=0, description=BETA)
    flip_rate: float = Field(default=0.0, ge=0, lt=0.5, description="ε, on top of what a pair's own preference says")
    bound: float = Field(
        default=5.0, ge=1, le=1000, description="the most by which 1 / (1 − 2ε) multiplies a pair's loss"
    )


class Ipo(Guarded):
    """Identity preference optimisation: the logit is regressed to a margin, not driven to infinity."""

    name: Literal["ipo"] = "ipo"
    beta: float = Field(default=2000.0, gt=0, description=BETA)


class Hinge(Guarded):
    """SLiC's hinge on Diffusion-DPO's logit: pairs beyond a margin of 1 are left alone."""

    name: Literal["hinge"] = "hinge"
    beta: float = Field(default=2000.0, gt=0, description=BETA)


class Mapo(Guarded):
    """MaPO: winners' error and a margin between both, without a reference."""

    name: Literal["mapo"] = "mapo"
    beta: float = Field(default=0.1, ge=0, description="weighs the margin against the winners' error")
    snr: float = Field(default=0.5, gt=0, description="s, the constant that stands for the signal-to-noise ratio")
    timesteps: float = Field(default=1000.0, gt=0, description="T, which multiplies the margin")


class Kto(Guarded):
    """Diffusion-KTO: each image against the step's mean, as liked or disliked."""

    name: Literal["kto"] = "kto"
    beta: float = Field(default=1000.0, gt=0, description="steepness of the utility in the change of error")
    desirable: float = Field(default=1.0, ge=0, description="weight of winners")
    undesirable: float = Field(default=1.0, ge=0, description="weight of losers")


class Dspo(Guarded):
    """DSPO: the winner's target is moved away from the reference's prediction."""

    name: Literal["dspo"] = "dspo"
    beta: float = Field(default=0.01, gt=0, lt=1, description="how far the target moves; the authors use 0.001 to 0.05")
    logit_beta: float | None = Field(
        default=None,
        gt=0,
        description="β within the sigmoid, through which losers count; null: beta itself, as published, so hardly "
        "at all",
    )


class Rpo(Guarded):
    """Diffusion-RPO: winners against the losers of related prompts too."""

    name: Literal["rpo"] = "rpo"
    beta: float = Field(default=2000.0, gt=0, description=BETA)
    temperature: float = Field(
        default=0.1, gt=0, description="τ of the weights; towards 0 a pair is compared with itself"
    )
    embedding: str = Field(
        default="auto",
        min_length=1,
        description="scorer whose embedding of images and prompts weighs; auto: clip-toy for Toyworld, else clip-l14",
    )
    combine: Literal["sum", "concat", "image", "text"] = Field(
        default="sum", description="what of CLIP's unit vectors of image and prompt stands for an image"
    )
    normalise: Literal["rows", "both", "all"] = Field(
        default="rows",
        description="weights sum to 1 over the losers of each winner, the mean of that and its mirror, or over all",
    )
    average: Literal["all", "rows"] = Field(
        default="all", description="the loss is the mean over all N² comparisons, or over winners of their sums"
    )
    rescale: bool = Field(
        default=False, description="weights times N, so that beta means the same whatever a step's number of pairs"
    )
    diagonal: float | None = Field(
        default=None, ge=0, le=1, description="share of the loss that a pair's own comparison has; null: one among N"
    )


_Any = Dpo | RobustDpo | Ipo | Hinge | Mapo | Kto | Dspo | Rpo | Sft

METHODS: dict[str, type[_Any]] = {kind.model_fields["name"].default: kind for kind in get_args(_Any)}
"""The methods by name."""


def _chosen(value: Any, handler: ValidatorFunctionWrapHandler) -> _Any:
    """Validated by its own class rather than as one of a union, so that errors name options as they were written."""
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, Block):
        found: _Any = handler(value)
        return found
    if not isinstance(value, dict):
        raise ValueError("must be the name of a method, or a map of its name and options")
    name = value.get("name", DEFAULT)
    if not isinstance(name, str) or name not in METHODS:
        raise UnknownNameError.among("method", str(name), METHODS)
    return METHODS[name].model_validate(value)


Method = Annotated[Annotated[_Any, Field(discriminator="name")], WrapValidator(_chosen)]
"""A method by its name alone, or as a map of its name (dpo if left out) and options. An unknown name is an
UnknownNameError that lists the known ones."""
