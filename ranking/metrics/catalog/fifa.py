"""FiFA's importance of a pair: a clear margin, a well-written prompt, and one unlike the others."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ranking.errors import UsageError
from ranking.metrics.base import Finite, Metric, Options, Uses
from ranking.metrics.elementary import logarithm
from ranking.metrics.exact import number
from ranking.metrics.frame import Frame


class Importance(Options):
    """A scorer, an embedding, and how much the prompt counts."""

    scorer: str = Field(description="the scorer of the margin; the authors use PickScore for Pick-a-Pic, HPSv2 for HPD")
    unit: Literal["deviation", "raw"] = Field(
        default="deviation", description="the margin's unit: the deviation of the scorer's scores, or the scores' own"
    )
    signed: bool = Field(
        default=False, description="count a margin against the label as negative; FiFA takes its absolute value"
    )
    embedding: str | None = Field(default=None, description="the embedding of prompts; needed unless gamma is 0")
    neighbours: int = Field(
        default=10, ge=1, le=1000, description="k: the distance is to the k-th nearest other prompt"
    )
    gamma: Finite = Field(default=0.5, ge=0, description="weight of the logarithm of that distance")
    text_quality: str | None = Field(
        default=None, description="a field with the quality of the prompt, above 0 (FiFA asks a language model)"
    )
    alpha: Finite = Field(
        default=0.5, ge=0, description="weight of its logarithm; without text_quality nothing is added"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.gamma > 0 and self.embedding is None:
            raise ValueError("name the embedding of prompts, or set gamma to 0")
        return self

    @property
    def uses(self) -> Uses:
        """What it reads."""
        return Uses(
            scorers=(self.scorer,),
            features=(self.text_quality,) if self.text_quality and self.alpha else (),
            embeddings=(self.embedding,) if self.embedding and self.gamma else (),
        )


def _fifa(frame: Frame, options: Importance) -> str:
    margin = frame.zgap(options.scorer) if options.unit == "deviation" else frame.gap(options.scorer)
    terms = [margin if options.signed else f"abs({margin})"]
    for field in options.uses.features:
        terms.append(f"{number(options.alpha)} * {logarithm(f'{frame.feature(field)}::DOUBLE')}")
    for embedding in options.uses.embeddings:
        terms.append(f"{number(options.gamma)} * {_log_distance(frame, embedding, options.neighbours)}")
    return f"({' + '.join(terms)})"


def _log_distance(frame: Frame, embedding: str, neighbours: int) -> str:
    from ranking.subsets.density import prompt_density

    table = frame.table
    if table is None:
        raise UsageError("metric fifa reads embeddings from a store", hint="give the frame its table")
    found = frame.once(
        ("prompt density", embedding, neighbours), lambda: prompt_density(table, embedding, neighbours=neighbours)
    )
    return frame.lookup(found, key="prompt_id", on=frame.feature("prompt_id"), value="log_distance")


METRICS = (
    Metric(
        name="fifa",
        formula="|s_w − s_l| / deviation + α · ln q + γ · ln d; q the quality of the prompt's text, d the distance of "
        "its embedding to the k-th nearest other prompt",
        range="any number",
        source="FiFA (Yang, Kim et al. 2025, arXiv 2410.10166). The abstract names the three terms; formula, α, γ and "
        "k could not be read, so ours are a recollection and a choice, and so is the margin's unit. The authors take "
        "about 5,000 pairs",
        provenance="reconstruction",
        nulls="a score, the prompt's embedding or its text quality is missing, or that is not above 0",
        options=Importance,
        expression=_fifa,
        uses=lambda options: options.uses,
    ),
)
