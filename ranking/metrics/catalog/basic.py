"""The quality of DPO-QSD, its obvious rivals, and a control."""

from pydantic import Field

from ranking.metrics.base import Metric, Normalize, Options, Uses
from ranking.metrics.frame import Frame


class Scaled(Options):
    """One scorer and how its scores are normalised."""

    scorer: str = Field(description="the scorer ψ")
    normalize: Normalize = Field(default="raw", description="how its scores are normalised")


class MinMaxScaled(Scaled):
    """The same, normalised to 0 … 1 unless said otherwise."""

    normalize: Normalize = Field(default="minmax", description="how its scores are normalised")


def _scorer(options: Scaled) -> Uses:
    return Uses(scorers=(options.scorer,))


def _qsd(frame: Frame, options: Scaled) -> str:
    winner, loser = (frame.score(options.scorer, side, options.normalize) for side in ("winner", "loser"))
    return f"({winner} * (1 - {loser}))"


def _margin(frame: Frame, options: Scaled) -> str:
    return frame.gap(options.scorer, options.normalize)


def _winner_score(frame: Frame, options: Scaled) -> str:
    return frame.score(options.scorer, "winner", options.normalize)


def _random(frame: Frame, _: Options) -> str:
    text = f"sha256('{int(frame.seed)}:' || {frame.feature('pair_id')})"
    return f"(('0x' || substr({text}, 1, 12))::BIGINT / {2**48}.0::DOUBLE)"


METRICS = (
    Metric(
        name="qsd",
        formula="ψ_w · (1 − ψ_l)",
        range="0 to 1 when ψ is (minmax, prompt-z, sigmoid); any number when raw",
        source="reconstruction of the pair quality of Singh et al. 2024 (DPO-QSD), where ψ is HPSv2; "
        "neither the paper nor how it scales ψ could be read, so the scaling is an option. Over raw "
        "cosines near 0.3 it ranks mostly by the winner's score, around 0.5 almost by the margin.",
        options=MinMaxScaled,
        expression=_qsd,
        uses=_scorer,
        reconstruction=True,
    ),
    Metric(
        name="margin",
        formula="ψ_w − ψ_l",
        range="−1 to 1 when ψ is 0 to 1; any number when raw",
        source="the obvious rival of qsd; negative where the scorer prefers the loser",
        options=Scaled,
        expression=_margin,
        uses=_scorer,
    ),
    Metric(
        name="winner-score",
        formula="ψ_w",
        range="that of ψ",
        source="a control: how good the winner is, whatever it was compared with",
        options=Scaled,
        expression=_winner_score,
        uses=_scorer,
    ),
    Metric(
        name="random",
        formula='first 48 bits of SHA-256("<seed>:<pair_id>") / 2^48',
        range="0 to 1",
        source="a control: any pair as good as any other, repeatably",
        options=Options,
        expression=_random,
        uses=lambda _: Uses(seed=True),
    ),
)
