"""Which of a prompt's images are beaten in everything by others."""

from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from ranking import duck
from ranking.metrics.base import Metric, Options, Scorers, Uses
from ranking.metrics.comparisons import fronts, win_rates
from ranking.metrics.frame import Frame


class Several(Options):
    """Two or more scorers."""

    scorers: Scorers = Field(description="the scorers, at least two")
    scaled: bool = Field(
        default=False,
        description="whether R is the score divided by the deviation of the scorer's scores, so that scorers with "
        "other units say as much in the margin, or as CaPO has it the score itself. Fronts are the same",
    )

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(self.scorers) < 2:
            raise ValueError("one scorer has no fronts, name at least two in scorers")
        return self


def _pareto(frame: Frame, options: Several) -> str:
    table = _compared(frame, options)
    first, second = (frame.let(_of(frame, table, side)) for side in (0, 1))
    return f"(CASE {frame.winner} WHEN 0 THEN {first} - {second} WHEN 1 THEN {second} - {first} END)"


def _of(frame: Frame, table: str, side: int) -> str:
    on = (frame.feature("prompt_id"), frame.feature(f"image_{side}_uid"))
    return frame.lookup(table, key=("prompt_id", "uid"), on=on, value="standing")


def _compared(frame: Frame, options: Several) -> str:
    """A query for the standing of every item that has all scores: half its mean calibrated reward − its front."""
    items = frame.items(options.scorers)

    def compared() -> pa.Table:
        prompts = frame.keep(f"SELECT prompt_id, min(rowid) AS prompt FROM {items} GROUP BY prompt_id")
        columns = ", ".join(duck.identifier(f"{name}.score") for name in options.scorers)
        found = duck.arrow(
            frame.con,
            f"SELECT items.rowid AS place, prompt, {columns} FROM {items} items JOIN {prompts} USING (prompt_id)",
        )
        groups = found["prompt"].to_numpy()
        scores = np.stack([found.column(2 + index).to_numpy() for index in range(len(options.scorers))], axis=1)
        units = np.array([frame.scale(name).deviation or 1.0 if options.scaled else 1.0 for name in options.scorers])
        front, rates = fronts(scores, groups), win_rates(scores / units, groups)
        rate = np.zeros(len(groups))
        for each in rates.T:  # one after the other: the same sum on every machine
            rate += each
        whole = front > 0
        standing = rate[whole] / len(options.scorers) / 2 - front[whole]
        return pa.table({"place": found["place"].to_numpy()[whole], "standing": standing})

    kept = frame.keep(frame.once(("pareto", options), compared))
    return f"SELECT prompt_id, uid, standing FROM {items} items JOIN {kept} kept ON items.rowid = kept.place"


METRICS = (
    Metric(
        name="pareto",
        formula="F_l − F_w + ½ · mean_k (R_k,w − R_k,l); F is the image's Pareto front among the prompt's images, 1 "
        "the best; R_k,i = mean over the prompt's other images j of σ(s_k,i − s_k,j)",
        range="whole numbers of fronts, plus or minus less than ½",
        source="CaPO (arXiv 2502.02588): calibrated rewards, and winners from the upper and losers from the lower "
        "fronts of non-dominated sorting. Three accounts agree on these; how one number ranks a labelled pair is "
        "ours: by fronts, then by the calibrated margin. Fronts are exact up to 4,096 images of a prompt, rewards up "
        "to 256",
        provenance="secondary",
        nulls="a score is missing",
        options=Several,
        expression=_pareto,
        uses=lambda options: Uses(scorers=options.scorers),
    ),
)
