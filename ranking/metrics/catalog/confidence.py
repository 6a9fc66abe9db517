"""How likely the label is right, as a metric."""

from ranking.metrics.base import Metric, Options, Uses
from ranking.metrics.frame import Frame

_FIELD = "label_confidence"


def _label_confidence(frame: Frame, _: Options) -> str:
    # Under a policy of labels that turns the human's winner round, the confidence in what is then the winner.
    given = frame.feature(_FIELD)
    return f"(CASE WHEN {frame.winner} = {frame.feature('winner')} THEN {given} ELSE 1 - {given} END)"


METRICS = (
    Metric(
        name="label-confidence",
        formula="P(winner is the better image | scorers, other labels, rater, models)",
        range="0 to 1",
        source="ours: docs/confidence.md. No pair is judged by a model that saw a label of its prompt",
        provenance="ours",
        nulls="the human called it a tie",
        options=Options,
        expression=_label_confidence,
        uses=lambda _: Uses(features=(_FIELD,)),
    ),
)
