"""What the generators of the two images say of how far apart the images are."""

import numpy as np
import pyarrow as pa

from ranking.metrics.base import Metric, Options, Uses
from ranking.metrics.frame import Frame

_FIELDS = ("model_0", "model_1", "is_tie")


def _arena_gap(frame: Frame, _: Options) -> str:
    table: pa.Table = frame.once(("arena-gap",), lambda: _gaps(frame))
    winner, loser = (frame.of_side("model_", side) for side in ("winner", "loser"))
    return frame.lookup(table, key="models", on=_both(winner, loser), value="gap")


def _gaps(frame: Frame) -> pa.Table:
    """E[d | d > 0] for every two models that met, by their names."""
    from ranking.metrics.abilities import MOST, fitted

    winner, loser = (frame.of_side("model_", side) for side in ("winner", "loser"))
    first, second = frame.feature("model_0"), frame.feature("model_1")
    met = frame.con.sql(
        f"""SELECT coalesce({winner}, {first}) AS first, coalesce({loser}, {second}) AS second,
                count(*) FILTER ({frame.winner} IS NOT NULL) AS wins,
                count(*) FILTER ({frame.winner} IS NULL AND {frame.feature("is_tie")}) AS ties
            {frame.source()} WHERE {first} IS NOT NULL AND {second} IS NOT NULL GROUP BY ALL ORDER BY ALL"""
    ).fetchnumpy()
    winners, losers = (np.asarray(met[name].astype(str)) for name in ("first", "second"))
    counts = met["wins"] + met["ties"]
    names, places = np.unique(np.concatenate([winners, losers]), return_inverse=True)
    rows, columns = places[: len(winners)], places[len(winners) :]
    busy = np.bincount(places, weights=np.concatenate([counts, counts]), minlength=len(names))
    chosen = np.sort(np.lexsort((names, -busy))[:MOST])
    place_of = np.full(len(names), len(chosen))  # the others share a place that stays at the prior
    place_of[chosen] = np.arange(len(chosen))
    wins = np.zeros((len(chosen) + 1, len(chosen) + 1))
    np.add.at(wins, (place_of[rows], place_of[columns]), met["wins"] + met["ties"] / 2)
    np.add.at(wins, (place_of[columns], place_of[rows]), met["ties"] / 2)
    wins[-1], wins[:, -1] = 0.0, 0.0
    abilities = fitted(wins)
    texts = [f"{len(winner)}:{winner}{loser}" for winner, loser in zip(winners, losers, strict=True)]
    return pa.table({"models": pa.array(texts, pa.string()), "gap": abilities.gap(place_of[rows], place_of[columns])})


def _both(winner: str, loser: str) -> str:
    return f"(length({winner}) || ':' || {winner} || {loser})"


METRICS = (
    Metric(
        name="arena-gap",
        formula="E[d | d > 0] = Δμ + s · φ(Δμ/s) / Φ(Δμ/s), d ~ N(Δμ, s²), Δμ = μ_w − μ_l, s² = σ_w² + σ_l² of the "
        "two models",
        range="above 0; small where a weak model beat a strong one",
        source="ArenaPO (arXiv 2605.06070), of which only the abstract could be read: generators are Gaussians, a "
        "verdict says that the difference is positive, its mean is the gap. The expectation is the standard one. How "
        "they fit μ and σ is unknown; ours is Thurstone's model of wins between models, a tie ½ for each, with priors "
        "μ ~ N(0, 1) and ln σ ~ N(0, ¼²), the likeliest values a posteriori. No scorer is asked",
        provenance="reconstruction",
        nulls="a model is unknown",
        options=Options,
        expression=_arena_gap,
        uses=lambda _: Uses(features=_FIELDS),
    ),
)
