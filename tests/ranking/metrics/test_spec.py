"""What does not fit is refused in one line that names the place; what fits is the same to the bit on any threads."""

import json
from typing import Any

import numpy as np
import pytest
from framed import measured

from ranking.errors import PairsieveError, UnknownNameError, UsageError
from ranking.metrics.spec import MetricSpec, check_metric

MARGIN = {"name": "margin", "scorer": "a"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "unanimous"}, "metric.scorers: missing"),
        ({"name": "unanimous", "scorers": []}, "metric.scorers: must have 1 or more"),
        ({"name": "vote-fraction", "scorers": ["a", "b", "a"]}, "metric.scorers: 'a' is named twice"),
        ({"name": "pareto", "scorers": ["a"]}, "one scorer has no fronts"),
        ({"name": "mpcf", "clip": "a"}, "name the scorers aesthetic, clip and vqa, or give thresholds"),
        ({"name": "mpcf", "thresholds": {"a": 0}, "clip": "b"}, "stand in place of aesthetic"),
        ({"name": "mpcf", "thresholds": {"a": float("nan")}}, "metric.thresholds.a: must be a finite number, not nan"),
        ({"name": "qsd", "scorer": "a", "normalise": "raw"}, "unknown option 'metric.normalise'"),
        ({"name": "dual-margin", "external": "a", "implicit": "a"}, "'a' is named twice"),
        ({"name": "dual-margin", "external": "a", "implicit": "b", "external_clip": [1, 1]}, "M1 must be below M2"),
        ({"name": "fifa", "scorer": "a"}, "name the embedding of prompts, or set gamma to 0"),
        ({"name": "weighted-sum", "of": [MARGIN]}, "metric.of: must have 2 or more"),
        ({"name": "weighted-sum", "of": [{"metric": MARGIN, "weight": 0}] * 2}, "all weights are 0"),
        ({"name": "weighted-sum", "of": [MARGIN, {"metric": MARGIN, "weight": float("inf")}]}, "metric.of[1].weight"),
        ({"name": "product", "of": [MARGIN, {"metric": MARGIN, "weight": 2}]}, "a weight changes no order of products"),
        ({"name": "product", "of": [MARGIN, {"name": "qsd"}]}, "metric.of[1].scorer: missing"),
    ],
)
def test_a_metric_that_does_not_fit_names_the_place(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        MetricSpec.model_validate(spec)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_names_inside_a_combination_are_refused_with_what_is_near() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown metric 'margn'.*did you mean margin"):
        MetricSpec.model_validate({"name": "product", "of": [MARGIN, {"name": "margn"}]})
    spec = MetricSpec.model_validate({"name": "product", "of": [MARGIN, {"name": "field", "field": "winz"}]})
    with pytest.raises(UnknownNameError, match="unknown scorer 'a'"):
        check_metric(spec, scorers=["aa", "b"], features=["wins"])
    with pytest.raises(UnknownNameError, match="did you mean wins"):
        check_metric(spec, scorers=["a"], features=["wins"])


def test_a_metric_of_metrics_of_metrics_has_an_end() -> None:
    nested: dict[str, Any] = MARGIN
    for _ in range(400):
        nested = {"name": "product", "of": [nested, MARGIN]}
    with pytest.raises(PairsieveError, match="too many metrics inside one another"):
        MetricSpec.model_validate(nested)


def test_a_spec_reads_back_what_it_writes() -> None:
    parts = [{"metric": {"name": "mpcf", "thresholds": {"a": 0.5}}, "weight": 2.0}, MARGIN]
    spec = MetricSpec.model_validate({"name": "rank-fusion", "of": parts})
    written = json.loads(json.dumps(spec.model_dump(mode="json")))
    assert MetricSpec.model_validate(written) == spec
    assert spec.uses.scorers == ("a",)


ALL: list[dict[str, Any]] = [
    *({"name": "qsd", "scorer": "a", "normalize": normalize} for normalize in ("raw", "minmax", "sigmoid", "prompt-z")),
    {"name": "unanimous", "scorers": ["a", "b"], "inside": "mean", "outside": "keep"},
    {"name": "mpcf", "thresholds": {"a": -1, "b": -1}},
    {"name": "dual-margin", "external": "a", "implicit": "b"},
    {"name": "smpo-weight", "scorer": "a"},
    {"name": "arena-gap"},
    {"name": "pareto", "scorers": ["a", "b"]},
    {"name": "fifa", "scorer": "a", "gamma": 0, "text_quality": "quality"},
    {
        "name": "weighted-sum",
        "of": [{"name": "qsd", "scorer": "a", "normalize": "prompt-z"}, {**MARGIN, "scorer": "b"}],
    },
    {"name": "rank-fusion", "of": [MARGIN, {"name": "random"}]},
]


def test_every_metric_is_the_same_to_the_bit_with_any_threads_and_order_of_rows() -> None:
    made = np.random.default_rng(3)
    # More than one row group, so that two threads have something to share.
    rows = [
        {"pair_id": str(i), "prompt_id": f"p{i % 700}", "u0": f"i{i}", "u1": f"j{i}", "winner": i % 2}
        | {f"{name}.{side}": value for name in "ab" for side, value in enumerate(made.normal(size=2).tolist())}
        | {"model_0": f"m{i % 5}", "model_1": f"m{i % 7}", "is_tie": False, "quality": 0.5 + i % 9}
        for i in range(5_000)
    ]
    turned = [rows[i] for i in made.permutation(len(rows))]
    place = {row["pair_id"]: index for index, row in enumerate(turned)}
    # One combination of all of them costs one query in place of thirteen.
    parts = {"name": "weighted-sum", "of": ALL}
    one = measured(parts, rows)
    assert sum(value is not None for value in one) > 500
    for threads in (2, 4):
        again = measured(parts, turned, threads=threads)
        assert [again[place[row["pair_id"]]] for row in rows] == one
