"""Whether several scorers, or the other labels, side with the label."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ranking.metrics.base import Finite, Metric, Options, Scorers, Uses
from ranking.metrics.exact import number
from ranking.metrics.frame import Frame

Outside = Literal["drop", "keep"]
_OUTSIDE = "what becomes of the other pairs: drop (no metric), or keep, behind, by their worst gap"

PRESETS: dict[str, dict[str, float]] = {
    "s1": {"aesthetic": 0.0, "clip": 0.0, "vqa": 0.0},
    "s2": {"aesthetic": -0.5, "clip": 0.0, "vqa": 0.0},
    "s3": {"aesthetic": -1.0, "clip": 0.0, "vqa": 0.0},
}
"""LPO's thresholds (arXiv 2502.01051, Table 1) by preset and role; S2 is the one its authors adopted."""


class Unanimous(Options):
    """Several scorers."""

    scorers: Scorers = Field(description="the scorers that must all prefer the winner")
    inside: Literal["min", "mean"] = Field(
        default="min", description="what ranks the pairs on which they agree: the least or the mean of their z-gaps"
    )
    outside: Outside = Field(default="drop", description=_OUTSIDE)


class Votes(Options):
    """Several scorers."""

    scorers: Scorers = Field(description="the scorers that vote")


class Consistent(Options):
    """Scorers by role, or thresholds by scorer."""

    aesthetic: str | None = Field(default=None, description="the scorer of aesthetics, with LAION's range of 1 to 10")
    clip: str | None = Field(default=None, description="the scorer of text alignment, CLIP's cosine")
    vqa: str | None = Field(default=None, description="the scorer of alignment by questions, VQAScore")
    preset: Literal["s1", "s2", "s3"] = Field(
        default="s2", description="thresholds for those three: aesthetic 0, −0.5 or −1, the others 0"
    )
    thresholds: dict[str, Finite] | None = Field(
        default=None, description="instead of the roles: the least gap that each scorer must reach, by scorer"
    )
    strict: bool = Field(default=False, description="gaps must exceed the thresholds, as in the authors' code")
    outside: Outside = Field(default="drop", description=_OUTSIDE)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        roles = {role: getattr(self, role) for role in PRESETS["s2"]}
        if self.thresholds is None and None in roles.values():
            raise ValueError("name the scorers aesthetic, clip and vqa, or give thresholds by scorer")
        if self.thresholds is not None and (set(roles.values()) != {None} or not self.thresholds):
            raise ValueError("thresholds by scorer, at least one, stand in place of aesthetic, clip and vqa")
        if self.thresholds is None and len(set(roles.values())) < len(roles):
            raise ValueError("aesthetic, clip and vqa must be three scorers")
        return self

    @property
    def least(self) -> dict[str, float]:
        """The least gap of each scorer."""
        if self.thresholds is not None:
            return dict(sorted(self.thresholds.items()))
        return {getattr(self, role): least for role, least in PRESETS[self.preset].items()}


class Winning(Options):
    """How often a winner must have won."""

    wins: int = Field(default=2, ge=1, description="the least number of wins of the winner under the prompt")


def _unanimous(frame: Frame, options: Unanimous) -> str:
    gaps = [frame.let(frame.zgap(scorer)) for scorer in options.scorers]
    worst = f"least({', '.join(gaps)})"
    best = worst if options.inside == "min" else f"({' + '.join(gaps)}) / {len(gaps)}"
    return _either(gaps, all_of=[f"{gap} > 0" for gap in gaps], inside=best, outside=worst, policy=options.outside)


def _vote_fraction(frame: Frame, options: Votes) -> str:
    gaps = [frame.let(frame.gap(scorer)) for scorer in options.scorers]
    votes = " + ".join(f"(1 + sign({gap}))" for gap in gaps)
    return f"(({votes}) / {number(2 * len(gaps))})"


def _mpcf(frame: Frame, options: Consistent) -> str:
    gaps = {scorer: frame.let(frame.gap(scorer)) for scorer in options.least}
    over = ">" if options.strict else ">="
    slack = [
        f"({gaps[scorer]} - {number(least)}) / {number(frame.scale(scorer).deviation or 1.0)}"
        for scorer, least in options.least.items()
    ]
    kept = [f"{gaps[scorer]} {over} {number(least)}" for scorer, least in options.least.items()]
    worst = f"least({', '.join(slack)})"
    return _either(list(gaps.values()), all_of=kept, inside=worst, outside=worst, policy=options.outside)


def _either(gaps: list[str], *, all_of: list[str], inside: str, outside: str, policy: Outside) -> str:
    known = " AND ".join(f"{gap} IS NOT NULL" for gap in gaps)
    behind = f"ELSE {outside} " if policy == "keep" else ""
    return f"(CASE WHEN NOT ({known}) THEN NULL WHEN {' AND '.join(all_of)} THEN {inside} {behind}END)"


def _absolute_winner(frame: Frame, options: Winning) -> str:
    wins, losses, ties = (frame.of_side(name, "winner") for name in ("wins_", "losses_", "ties_"))
    lost = frame.of_side("losses_", "loser")
    return (
        f"(CASE WHEN {wins} >= {options.wins} AND {losses} = 0 AND {ties} = 0 "
        f"THEN {wins} + {lost} / ({lost} + 1.0::DOUBLE) END)"
    )


_GRAPH = tuple(f"{name}_{side}" for name in ("wins", "losses", "ties") for side in (0, 1))

METRICS = (
    Metric(
        name="unanimous",
        formula="min_k z_k where all K gaps are above 0; z_k = (s_k,w − s_k,l) / deviation of scorer k",
        range="above 0; kept pairs outside: 0 or below",
        source="the filter is that of Semi-DPO (arXiv 2604.24952) and ViPO (2604.24953): every one of PickScore, "
        "HPSv2, CLIP, LAION's aesthetics and ImageReward prefers the labelled winner, 20.79 % of Pick-a-Pic v2. They "
        "rank nothing inside; the number is ours: a pair is as sure as its least sure scorer. Take 100 % for their set",
        provenance="secondary",
        nulls="a score is missing or, unless `outside` is keep, one scorer does not prefer the winner",
        options=Unanimous,
        expression=_unanimous,
        uses=lambda options: Uses(scorers=options.scorers),
    ),
    Metric(
        name="vote-fraction",
        formula="(scorers that prefer the winner + ½ · scorers that cannot tell) / K",
        range="0 to 1, in steps of 1 / 2K",
        source="after RankDPO (arXiv 2410.18013), whose φ is an image's wins over all scorers and comparisons; here "
        "within the pair. A scorer's tie counting ½ is ours. Many pairs are equal, and equal ones are ordered by "
        "pair_id: rank-fusion with a margin orders them better",
        provenance="reconstruction",
        nulls="a score is missing",
        options=Votes,
        expression=_vote_fraction,
        uses=lambda options: Uses(scorers=options.scorers),
    ),
    Metric(
        name="mpcf",
        formula="min_k (gap_k − t_k) / deviation of scorer k, where gap_k ≥ t_k for all k",
        range="0 and above; kept pairs outside: below 0",
        source="multi-preference consistent filtering of LPO (arXiv 2502.01051, Table 1; Pick-a-Pic v1: S1 keeps "
        "101,573, S2 168,539, S3 201,885 of 511,840). Paper: ≥, code: >. The filter ranks nothing inside; the number "
        "is ours. Its rule for ties does not apply: a tie has no winner, unless the recipe's labels give it one, and "
        "is then a pair like others",
        provenance="verified",
        nulls="a score is missing or, unless `outside` is keep, a gap is below its threshold",
        options=Consistent,
        expression=_mpcf,
        uses=lambda options: Uses(scorers=tuple(options.least)),
    ),
    Metric(
        name="absolute-winner",
        formula="wins of the winner + losses of the loser / (losses of the loser + 1)",
        range="2.5 and above",
        source="the filter is that of Gambashidze et al. (arXiv 2406.17636, §5): the winner has more than one win, no "
        "loss and no draw under the prompt. No scorer is asked. The number is ours: more wins first, then more losses "
        "of the loser",
        provenance="verified",
        nulls="the winner lost or drew under the prompt, or won less often than `wins`",
        options=Winning,
        expression=_absolute_winner,
        uses=lambda _: Uses(features=_GRAPH),
    ),
)
