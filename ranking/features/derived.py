"""Fields that are computed from others when somebody names them: SQL over a row of the wide table and the columns
beside it, declared once. Looks nothing up."""

from collections.abc import Iterable, Mapping
from string import Template
from typing import Final

from ranking import duck
from ranking.features.copies import MAX_DISTANCE
from ranking.features.fields import Field, Kind
from ranking.features.tallies import Tally

_PAIR: Final = (
    Field(
        "winner_model",
        "text",
        "the generator that drew the winner; null for ties",
        "pair",
        "CASE winner WHEN 0 THEN model_0 WHEN 1 THEN model_1 END",
        ("winner", "model_0", "model_1"),
    ),
    Field(
        "loser_model",
        "text",
        "the generator that drew the loser; null for ties",
        "pair",
        "CASE winner WHEN 0 THEN model_1 WHEN 1 THEN model_0 END",
        ("winner", "model_0", "model_1"),
    ),
    Field(
        "same_model",
        "boolean",
        "whether one generator drew both images; null where one is unknown",
        "pair",
        "model_0 = model_1",
        ("model_0", "model_1"),
    ),
    Field(
        "judge_share",
        "number",
        "share of the judges who chose the winner; null for ties and where one person judged",
        "pair",
        "CASE WHEN votes_0 + votes_1 > 0 THEN CASE winner WHEN 0 THEN votes_0 WHEN 1 THEN votes_1 END "
        "/ (votes_0 + votes_1) END",
        ("winner", "votes_0", "votes_1"),
    ),
)
_IMAGES: Final = (
    *(
        field
        for side in (0, 1)
        for field in (
            Field(
                f"megapixels_{side}",
                "number",
                f"width · height of image {side} / 1,000,000",
                "images",
                f"width_{side}::DOUBLE * height_{side} / 1e6",
                (f"width_{side}", f"height_{side}"),
            ),
            Field(
                f"aspect_{side}",
                "number",
                f"width / height of image {side}: above 1 it lies, below 1 it stands",
                "images",
                f"width_{side}::DOUBLE / height_{side}",
                (f"width_{side}", f"height_{side}"),
            ),
            Field(
                f"smaller_side_{side}",
                "number",
                f"the lesser of width and height of image {side}, in pixels",
                "images",
                f"least(width_{side}, height_{side})",
                (f"width_{side}", f"height_{side}"),
            ),
        )
    ),
    Field(
        "near_identical",
        "boolean",
        f"whether the two images show the same: the same bytes, or perceptual hashes that differ in at most "
        f"{MAX_DISTANCE} bits of 64",
        "images",
        f"coalesce(same_bytes, false) OR phash_distance <= {MAX_DISTANCE}",
        ("same_bytes", "phash_distance"),
    ),
)
_VOTES: Final = (
    Field(
        "vote_share",
        "number",
        "agree_votes / votes: share of the scorers with a preference that prefer the rater's winner; null without any",
        "scores",
        "CASE WHEN votes > 0 THEN agree_votes::DOUBLE / votes END",
        ("votes", "agree_votes"),
    ),
    Field(
        "winner_dominates",
        "boolean",
        "whether some scorer prefers the rater's winner and none the loser; null for ties and without any preference",
        "scores",
        "CASE WHEN votes > 0 THEN agree_votes = votes END",
        ("votes", "agree_votes"),
    ),
    Field(
        "loser_dominates",
        "boolean",
        "whether some scorer prefers the rater's loser and none the winner; null for ties and without any preference",
        "scores",
        "CASE WHEN votes > 0 THEN agree_votes = 0 END",
        ("votes", "agree_votes"),
    ),
    Field(
        "pareto_gap",
        "number",
        "front of the loser − front of the winner: positive where the rater's winner is the less beaten; null for ties",
        "scores",
        "CASE winner WHEN 0 THEN pareto_1 - pareto_0 WHEN 1 THEN pareto_0 - pareto_1 END",
        ("winner", "pareto_0", "pareto_1"),
    ),
)


def derived_fields(scorers: Iterable[str]) -> dict[str, Field]:
    """The derived fields of a dataset with these scorers, by name, in the order in which they are documented."""
    scored = [field for name in scorers for field in _of_scorer(name)]
    return {field.name: field for field in (*_PAIR, *_IMAGES, *scored, *_VOTES)}


def expression(field: Field, tallies: Mapping[str, Tally]) -> str:
    """A derived field as SQL over the columns it reads; the scale of its scorer is in its tally."""
    if field.sql is None:
        raise ValueError(f"{field.name} is a column, not derived")
    if field.scorer is None or "$" not in field.sql:
        return field.sql
    found = tallies[field.scorer]
    scale = {"low": found.low, "high": found.high, "mean": found.mean, "deviation": found.deviation}
    return Template(field.sql).substitute(
        {name: "NULL::DOUBLE" if value is None else f"({value!r}::DOUBLE)" for name, value in scale.items()}
    )


def _of_scorer(name: str) -> list[Field]:
    gap, mean, spread = (f"{name}.{part}" for part in ("gap", "prompt_mean", "prompt_deviation"))

    def made(part: str, kind: Kind, meaning: str, sql: str, *reads: str) -> Field:
        return Field(f"{name}.{part}", kind, meaning, "scores", sql, reads, name)

    return [
        made(
            "agrees",
            "boolean",
            f"whether {name} prefers the rater's winner; null for ties and without a preference",
            f"CASE WHEN {_q(gap)} <> 0 THEN {_q(gap)} > 0 END",
            gap,
        ),
        made(
            "zgap",
            "number",
            f"the gap in units of the deviation of all scores that {name} gives the dataset's items; 0 if they are "
            "all the same",
            f"CASE WHEN {_q(gap)} IS NULL THEN NULL WHEN $high > $low THEN {_q(gap)} / $deviation ELSE 0 END",
            gap,
        ),
        made(
            "prompt_zgap",
            "number",
            f"the gap in units of the deviation of the scores that {name} gives the prompt's items; 0 if they are all "
            "the same",
            f"CASE WHEN {_q(spread)} > 0 THEN {_q(gap)} / {_q(spread)} ELSE {_q(gap)} END",
            gap,
            spread,
        ),
        *(
            field
            for side in (0, 1)
            for field in (
                made(
                    f"minmax_{side}",
                    "number",
                    f"(score − least) / (greatest − least) of image {side} by {name}, over the dataset's items; 0.5 if "
                    "they are all the same",
                    f"{_if_scored(name, side)} WHEN $high > $low THEN ({_score(name, side)} - $low) / ($high - $low) "
                    "ELSE 0.5 END",
                    f"{name}.{side}",
                ),
                made(
                    f"z_{side}",
                    "number",
                    f"(score − mean) / deviation of image {side} by {name}, over the dataset's items; 0 if they are "
                    "all the same",
                    f"{_if_scored(name, side)} WHEN $high > $low THEN ({_score(name, side)} - $mean) / $deviation "
                    "ELSE 0 END",
                    f"{name}.{side}",
                ),
                made(
                    f"centred_{side}",
                    "number",
                    f"score − mean of image {side} by {name}, over the prompt's items",
                    f"{_score(name, side)} - {_q(mean)}",
                    f"{name}.{side}",
                    mean,
                ),
                made(
                    f"prompt_z_{side}",
                    "number",
                    f"(score − mean) / deviation of image {side} by {name}, over the prompt's items; 0 if they are all "
                    "the same",
                    f"{_if_scored(name, side)} WHEN {_q(spread)} > 0 THEN ({_score(name, side)} - {_q(mean)}) "
                    f"/ {_q(spread)} ELSE 0 END",
                    f"{name}.{side}",
                    mean,
                    spread,
                ),
            )
        ),
    ]


def _score(name: str, side: int) -> str:
    return f"{_q(f'{name}.{side}')}::DOUBLE"


def _if_scored(name: str, side: int) -> str:
    return f"CASE WHEN {_q(f'{name}.{side}')} IS NULL THEN NULL"


def _q(name: str) -> str:
    return duck.identifier(name)
