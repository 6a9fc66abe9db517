"""Metrics that make something of how far apart a scorer puts the two images."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ranking.metrics.base import Finite, Metric, Options, Uses, listed
from ranking.metrics.catalog.basic import one_scorer
from ranking.metrics.elementary import logistic
from ranking.metrics.exact import number
from ranking.metrics.frame import Frame

LEAST_GAPS = {"hpsv2": 0.02, "hpsv2.1": 0.02, "aesthetic-v1": 0.2, "aesthetic-v2": 0.2}
"""Curriculum-DPO's thresholds of |Δ| by scorer (`data/dataset_factory.py`); for others its code has 0.1."""

PICKSCORE = (0.11543526500463486, 0.28201571106910706)
"""SmPO's least and greatest cosine of PickScore over Pick-a-Pic v2 (`train.py`)."""
_LOGIT_SCALE = 100.0  # what PickScore multiplies its cosine by; our scorer keeps it

Range = Annotated[tuple[Finite, Finite], BeforeValidator(listed)]


class Curriculum(Options):
    """A scorer, and how far apart and how high its scores must be."""

    scorer: str = Field(description="the scorer")
    least_gap: Finite | None = Field(
        default=None,
        description="|Δ| must exceed it; if not given, the authors' for the scorer: 0.02 for hpsv2 and hpsv2.1, 0.2 "
        "for aesthetic-v1 and aesthetic-v2, 0.1 for others",
    )
    least_score: Finite | None = Field(
        default=0.1, description="both scores must exceed it; null for scorers that go below"
    )

    @property
    def gap(self) -> float:
        """What |Δ| must exceed."""
        return LEAST_GAPS.get(self.scorer, 0.1) if self.least_gap is None else self.least_gap


class Dual(Options):
    """Two scorers, and where their margins are clipped."""

    external: str = Field(description="the scorer whose margin is external, a reward model")
    implicit: str = Field(
        description="the scorer whose margin is implicit: a briefly trained model's DPO reward of each image, "
        "imported as scores, or any second scorer"
    )
    combine: Literal["mul", "add"] = Field(default="mul", description="DM-MUL (Eq. 3) or DM-ADD, the sum")
    quantiles: Range = Field(
        default=(0.05, 0.95), description="the shares of all pairs at or below M1 and M2 where these are not given"
    )
    external_clip: Range | None = Field(default=None, description="M1 and M2 of the external margin")
    implicit_clip: Range | None = Field(default=None, description="M1 and M2 of the implicit margin")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            raise ValueError("quantiles must be two rising numbers between 0 and 1")
        for clip in (self.external_clip, self.implicit_clip):
            if clip is not None and not clip[0] < clip[1]:
                raise ValueError("M1 must be below M2")
        if self.external == self.implicit:
            raise ValueError(f"{self.external!r} is named twice")
        return self


class Smoothed(Options):
    """A scorer, and what its scores are normalised by."""

    scorer: str = Field(description="the scorer")
    constants: Literal["dataset", "pickscore"] = Field(
        default="dataset",
        description="what is 0 and what is 1: the least and the greatest score of the dataset, or for pickscore-v1 "
        "the authors' 11.543526500463486 and 28.201571106910706, PickScore's range over Pick-a-Pic v2 times its "
        "factor of 100",
    )
    range: Range | None = Field(default=None, description="these two instead")
    give: Literal["weight", "probability"] = Field(default="weight", description="2p − 1, or p")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("range: the first must be below the second")
        return self


def _curriculum(frame: Frame, options: Curriculum) -> str:
    winner, loser = (frame.score(options.scorer, side) for side in ("winner", "loser"))
    gap = frame.let(f"abs({winner} - {loser})")
    high = ""
    if options.least_score is not None:
        high = f"AND {winner} > {number(options.least_score)} AND {loser} > {number(options.least_score)}"
    return f"(CASE WHEN {gap} > {number(options.gap)} {high} THEN {gap} END)"


def _dual(frame: Frame, options: Dual) -> str:
    external = frame.let(_share(frame, options.external, options.external_clip, options.quantiles))
    implicit = frame.let(_share(frame, options.implicit, options.implicit_clip, options.quantiles))
    if options.combine == "add":
        return f"({external} + {implicit})"
    both = frame.let(f"{external} * {implicit}")
    neither = frame.let(f"(1 - {external}) * (1 - {implicit})")
    # One is sure that the label is right, the other that it is wrong: 0 / 0, and as likely as not.
    return f"(CASE WHEN {both} + {neither} = 0 THEN 0.5::DOUBLE ELSE {both} / ({both} + {neither}) END)"


def _share(frame: Frame, scorer: str, clip: tuple[float, float] | None, quantiles: tuple[float, float]) -> str:
    margin = frame.let(frame.gap(scorer))
    low, high = clip or frame.quantiles(margin, quantiles)
    if not low < high:
        return f"CASE WHEN {margin} IS NOT NULL THEN 0.5::DOUBLE END"
    clipped = f"least(greatest({margin}, {number(low)}), {number(high)})"
    return f"CASE WHEN {margin} IS NOT NULL THEN ({clipped} - {number(low)}) / {number(high - low)} END"


def _smpo(frame: Frame, options: Smoothed) -> str:
    if options.range is not None:
        low, high = options.range
    elif options.constants == "pickscore":
        low, high = (_LOGIT_SCALE * constant for constant in PICKSCORE)
    else:
        low, high = frame.range(options.scorer)
    width = number(high - low if high > low else 1.0)
    winner, loser = (f"({frame.score(options.scorer, side)} - {number(low)}) / {width}" for side in ("winner", "loser"))
    p = logistic(f"({winner} - {loser})")
    return p if options.give == "probability" else f"(2 * {p} - 1)"


METRICS = (
    Metric(
        name="curriculum-gap",
        formula="|s_w − s_l|, where it exceeds `least_gap` and both scores exceed `least_score`",
        range="above `least_gap`",
        source="the Pick-a-Pic path of Curriculum-DPO's code (Croitoru et al. 2025, arXiv 2405.13637, "
        "`data/dataset_factory.py`), which sorts by it and keeps 150,000 pairs. The winner stays the human's, so "
        "large gaps that contradict the label come first as well",
        provenance="verified",
        nulls="a score is missing, |Δ| is not above `least_gap`, or a score not above `least_score`",
        options=Curriculum,
        expression=_curriculum,
        uses=one_scorer,
    ),
    Metric(
        name="dual-margin",
        formula="P_ex · P_im / (P_ex · P_im + (1 − P_ex)(1 − P_im)), or P_ex + P_im; "
        "P = (clip(m, M1, M2) − M1) / (M2 − M1), m = s_w − s_l; ½ for 0 / 0",
        range="0 to 1; to 2 when added",
        source="BeeS, “Less is More” (arXiv 2502.14560, Eq. 3 and DM-ADD), made for language models. Its M1 and M2 "
        "could not be retrieved: by default they are quantiles of the margin over all pairs, 5 % and 95 %, which are "
        "ours",
        provenance="verified",
        nulls="a score is missing",
        options=Dual,
        expression=_dual,
        uses=lambda options: Uses(scorers=(options.external, options.implicit)),
    ),
    Metric(
        name="smpo-weight",
        formula="2p − 1, p = e^r'_w / (e^r'_w + e^r'_l), r' = (s − low) / (high − low)",
        range="−0.46 to 0.46 (p: 0.27 to 0.73) for scores within low and high",
        source="SmPO-Diffusion (arXiv 2506.02698 and its `train.py`), where it weights the loss of pairs that "
        "PickScore labelled. It grows with the margin, so it ranks as `margin` does; it is for combinations",
        provenance="verified",
        nulls="a score is missing",
        options=Smoothed,
        expression=_smpo,
        uses=one_scorer,
    ),
)
