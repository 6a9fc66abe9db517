"""Quality metrics: one number per pair from a scorer's scores, higher is better, as SQL. Not which pairs are
taken.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from ranking import duck
from ranking.errors import UnknownNameError, UsageError

Normalize = Literal["raw", "minmax", "prompt-z", "sigmoid"]
NORMALIZE: tuple[str, ...] = get_args(Normalize)


@dataclass(frozen=True)
class Metric:
    """What a metric is: its formula over ψ_w and ψ_l (the normalised scores of winner and loser), its range,
    where it comes from, and the normalisation used when a recipe names none (None: it uses no scorer).
    """

    name: str
    formula: str
    range: str
    source: str
    default_normalize: Normalize | None
    sql: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="qsd",
            formula="ψ_w · (1 − ψ_l)",
            range="0 to 1 when ψ is (minmax, prompt-z, sigmoid); any number when raw",
            source="reconstruction of the pair quality of Singh et al. 2024 (DPO-QSD), where ψ is HPSv2; "
            "neither the paper nor how it scales ψ could be read, so the scaling is an option. Over raw "
            "cosines near 0.3 it ranks mostly by the winner's score, around 0.5 almost by the margin.",
            default_normalize="minmax",
            sql="psi_w * (1 - psi_l)",
        ),
        Metric(
            name="margin",
            formula="ψ_w − ψ_l",
            range="−1 to 1 when ψ is 0 to 1; any number when raw",
            source="the obvious rival of qsd; negative where the scorer prefers the loser",
            default_normalize="raw",
            sql="psi_w - psi_l",
        ),
        Metric(
            name="winner-score",
            formula="ψ_w",
            range="that of ψ",
            source="a control: how good the winner is, whatever it was compared with",
            default_normalize="raw",
            sql="psi_w",
        ),
        Metric(
            name="random",
            formula='first 48 bits of SHA-256("<seed>:<pair_id>") / 2^48',
            range="0 to 1",
            source="a control: any pair as good as any other, repeatably",
            default_normalize=None,
            sql="",
        ),
    )
}


class MetricSpec(BaseModel):
    """Which metric, over which scorer's scores, normalised how.

    normalize, of a raw score s:
      raw       s
      minmax    (s − min) / (max − min) over all images of the dataset; 0.5 if they are all equal
      sigmoid   1 / (1 + e^−z), z from mean and population deviation over all images of the dataset
      prompt-z  the same with mean and deviation over the prompt's images; 0.5 if they are all equal
    An image that occurs in several pairs of a prompt counts once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    scorer: str | None = None
    normalize: Normalize | None = None

    @property
    def effective_normalize(self) -> Normalize | None:
        """The normalisation asked for, or the metric's own."""
        return self.normalize or METRICS[self.name].default_normalize


def check_metric(spec: MetricSpec, scorers: Collection[str]) -> None:
    """UnknownNameError for an unknown metric or scorer, UsageError for a scorer missing or too much."""
    metric = known_metric(spec.name)
    if metric.default_normalize is None:
        if spec.scorer is not None or spec.normalize is not None:
            raise UsageError(f"metric {spec.name} takes no scorer and no normalize", hint="leave them out")
    elif spec.scorer is None:
        raise UsageError(
            f"metric {spec.name} needs a scorer", hint=f"one of {', '.join(sorted(scorers)) or 'none yet'}"
        )
    elif spec.scorer not in scorers:
        raise UnknownNameError.among("scorer", spec.scorer, scorers)


def known_metric(name: str) -> Metric:
    """The metric of this name; UnknownNameError that lists them."""
    if name not in METRICS:
        raise UnknownNameError.among("metric", name, METRICS)
    return METRICS[name]


def metric_sql(spec: MetricSpec, *, relation: str, winner: str = "winner", seed: int = 0) -> str:
    """A query that gives (pair_id, metric) for every row of `relation`, a wide table or a view of one.

    The normalisation is fitted on all rows of `relation`. `winner` names the column that holds 0, 1 or null;
    without a winner, or without both scores where the formula needs them, the metric is null. Check the spec
    first.
    """
    metric = known_metric(spec.name)
    table, side = duck.identifier(relation), duck.identifier(winner)
    if metric.default_normalize is None:
        text = f"sha256('{int(seed)}:' || pair_id)"
        value = f"('0x' || substr({text}, 1, 12))::BIGINT / {2**48}.0::DOUBLE"
        return f"SELECT pair_id, CASE WHEN {side} IS NOT NULL THEN {value} END AS metric FROM {table}"
    assert spec.scorer is not None, "check_metric comes first"
    first, second = duck.identifier(f"{spec.scorer}.0"), duck.identifier(f"{spec.scorer}.1")
    psi, fit, join = _NORMALISERS[spec.effective_normalize or "raw"]
    return f"""
        WITH images AS (
            SELECT DISTINCT * FROM (
                SELECT image_0_uid AS uid, prompt_id, {first}::DOUBLE AS s FROM {table}
                UNION ALL SELECT image_1_uid, prompt_id, {second}::DOUBLE FROM {table}
            ) WHERE s IS NOT NULL
        ), fit AS ({fit}), sided AS (
            SELECT pair_id, fit.*,
                CASE {side} WHEN 0 THEN {first} WHEN 1 THEN {second} END::DOUBLE AS s_w,
                CASE {side} WHEN 0 THEN {second} WHEN 1 THEN {first} END::DOUBLE AS s_l
            FROM {table} pairs LEFT JOIN fit ON {join}
        ), scaled AS (
            SELECT pair_id, {psi.format(s="s_w")} AS psi_w, {psi.format(s="s_l")} AS psi_l FROM sided
        )
        SELECT pair_id, {metric.sql} AS metric FROM scaled
    """


_SPREAD = "min(s) AS low, max(s) AS high, avg(s) AS mean, stddev_pop(s) AS deviation FROM images"
# Equal extremes, not a zero deviation, say "no spread": a deviation of equal numbers may round above zero.
_LOGISTIC = "CASE WHEN {s} IS NULL THEN NULL WHEN high > low THEN 1 / (1 + exp((mean - {s}) / deviation)) ELSE 0.5 END"
_NORMALISERS: dict[str, tuple[str, str, str]] = {
    "raw": ("{s}", "SELECT 1 AS one", "true"),
    "minmax": (
        "CASE WHEN {s} IS NULL THEN NULL WHEN high > low THEN ({s} - low) / (high - low) ELSE 0.5 END",
        f"SELECT {_SPREAD}",
        "true",
    ),
    "sigmoid": (_LOGISTIC, f"SELECT {_SPREAD}", "true"),
    "prompt-z": (
        _LOGISTIC,
        f"SELECT prompt_id AS of_prompt, {_SPREAD} GROUP BY prompt_id",
        "fit.of_prompt = pairs.prompt_id",
    ),
}
"""How ψ follows from {s}; what is fitted on the images; how the fit meets a pair."""
