"""The quality of DPO-QSD, its obvious rivals, and a control."""

from pydantic import Field

from ranking.errors import UsageError
from ranking.metrics.base import Metric, Normalize, Options, Uses
from ranking.metrics.frame import Frame


class Scaled(Options):
    """One scorer and how its scores are normalised."""

    scorer: str = Field(description="the scorer ψ")
    normalize: Normalize = Field(default="raw", description="how its scores are normalised")


class MinMaxScaled(Scaled):
    """The same, normalised to 0 … 1 unless said otherwise."""

    normalize: Normalize = Field(default="minmax", description="how its scores are normalised")


class Named(Options):
    """A field."""

    field: str = Field(description="the field, a number or a truth value")


def one_scorer(options: Scaled) -> Uses:
    """What a metric over one scorer reads."""
    return Uses(scorers=(options.scorer,))


def _qsd(frame: Frame, options: Scaled) -> str:
    winner, loser = (frame.score(options.scorer, side, options.normalize) for side in ("winner", "loser"))
    return f"({winner} * (1 - {loser}))"


def _margin(frame: Frame, options: Scaled) -> str:
    return frame.gap(options.scorer, options.normalize)


def _winner_score(frame: Frame, options: Scaled) -> str:
    return frame.score(options.scorer, "winner", options.normalize)


def _field(frame: Frame, options: Named) -> str:
    if frame.table is not None and (kind := frame.table.fields[options.field].kind) not in ("number", "boolean"):
        raise UsageError(f"metric.field: {options.field} is {kind}, no number", code="bad-recipe")
    return f"{frame.feature(options.field)}::DOUBLE"


def _random(frame: Frame, _: Options) -> str:
    text = f"sha256('{int(frame.seed)}:' || {frame.feature('pair_id')})"
    return f"(('0x' || substr({text}, 1, 12))::BIGINT / {2**48}.0::DOUBLE)"


METRICS = (
    Metric(
        name="qsd",
        formula="ψ_w · (1 − ψ_l)",
        range="0 to 1 when ψ is (minmax, prompt-z, sigmoid); any number when raw",
        source="Singh, Khanna, Moturi 2024, “Effective Text-to-Image Alignment with Quality Aware Pair Ranking” "
        "(DPO-QSD), where ψ is HPSv2. Three readers of the paper quote this formula; we could not read it, and none "
        "says how ψ is brought into 0 … 1, so that is an option",
        provenance="secondary",
        nulls="a score is missing",
        options=MinMaxScaled,
        expression=_qsd,
        uses=one_scorer,
    ),
    Metric(
        name="margin",
        formula="ψ_w − ψ_l",
        range="−1 to 1 when ψ is 0 to 1; any number when raw; negative where the scorer prefers the loser",
        source="the obvious rival of qsd, a control",
        provenance="ours",
        nulls="a score is missing",
        options=Scaled,
        expression=_margin,
        uses=one_scorer,
    ),
    Metric(
        name="winner-score",
        formula="ψ_w",
        range="that of ψ",
        source="a control: how good the winner is, whatever it was compared with",
        provenance="ours",
        nulls="the winner has no score",
        options=Scaled,
        expression=_winner_score,
        uses=one_scorer,
    ),
    Metric(
        name="field",
        formula="the field's value",
        range="that of the field",
        source="for ranking by anything that is known of a pair, and for combinations",
        provenance="ours",
        nulls="the field is null",
        options=Named,
        expression=_field,
        uses=lambda options: Uses(features=(options.field,)),
    ),
    Metric(
        name="random",
        formula='first 48 bits of SHA-256("<seed>:<pair_id>") / 2^48',
        range="0 to 1",
        source="a control: any pair as good as any other, repeatably",
        provenance="ours",
        nulls="it has no winner",
        options=Options,
        expression=_random,
        uses=lambda _: Uses(seed=True),
    ),
)
