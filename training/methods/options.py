"""The methods by name with the options of each: plain data of a training config. How they are computed is in
`training.methods.objective`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from training.blocks import Block

BETA = "weighs the KL penalty; errors are means over a latent's elements, so 2000 to 5000 at any resolution"


class MethodOptions(Block):
    """What every method has."""

    safeguard: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Diffusion-SDPO's μ, which keeps the winner from being unlearnt; null: off",
    )


class Dpo(MethodOptions):
    """Diffusion-DPO."""

    name: Literal["dpo"] = "dpo"
    beta: float = Field(default=2000.0, gt=0, description=BETA)


class Sft(MethodOptions):
    """Supervised fine-tuning on the winners."""

    name: Literal["sft"] = "sft"


class Rpo(MethodOptions):
    """Diffusion-RPO: winners against the losers of related prompts."""

    name: Literal["rpo"] = "rpo"
    beta: float = Field(default=2000.0, gt=0, description=BETA)
    temperature: float = Field(default=0.1, gt=0, description="of the contrastive weights")


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    return {"name": "dpo"} | value if isinstance(value, dict) else value


Method = Annotated[Annotated[Dpo | Sft | Rpo, Field(discriminator="name")], BeforeValidator(_named)]
"""A method by its name alone, or as a map of its name (dpo if left out) and options."""
