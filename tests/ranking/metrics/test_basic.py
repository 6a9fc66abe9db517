"""Metrics give the numbers that their formulas give by hand, whatever the threads and the order of rows."""

import hashlib
import math
from typing import Any

import pytest
from framed import close
from framed import measured as measured_over

from ranking.errors import UnknownNameError, UsageError
from ranking.metrics.base import NORMALIZE
from ranking.metrics.spec import MetricSpec, check_metric

# Prompt p shows images a b c (0.2, 0.4, 0.8), prompt q shows d e (0.4, 0.4). b occurs twice but counts once.
PAIRS = [
    {"pair_id": "1", "prompt_id": "p", "u0": "a", "u1": "b", "s0": 0.2, "s1": 0.4, "winner": 1},
    {"pair_id": "2", "prompt_id": "p", "u0": "b", "u1": "c", "s0": 0.4, "s1": 0.8, "winner": 0},
    {"pair_id": "3", "prompt_id": "q", "u0": "d", "u1": "e", "s0": 0.4, "s1": 0.4, "winner": 0},
    {"pair_id": "4", "prompt_id": "p", "u0": "a", "u1": "c", "s0": 0.2, "s1": 0.8, "winner": None},
    {"pair_id": "5", "prompt_id": "q", "u0": "d", "u1": "f", "s0": 0.4, "s1": None, "winner": 0},
]


def measured(spec: dict[str, Any], *, pairs: list[dict[str, Any]] | None = None, **options: Any) -> list[float | None]:
    renamed = {"s0": "my.scorer.0", "s1": "my.scorer.1"}
    rows = [{renamed.get(name, name): value for name, value in pair.items()} for pair in pairs or PAIRS]
    return measured_over(spec, rows, **options)


def spec(name: str, normalize: str | None = None) -> dict[str, Any]:
    return {"name": name, "scorer": "my.scorer"} | ({"normalize": normalize} if normalize else {})


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # psi_w * (1 - psi_l): 0.4 * 0.8, 0.4 * 0.2, 0.4 * 0.6, a tie, and a pair whose loser has no score.
        (spec("qsd", "raw"), [0.32, 0.08, 0.24, None, None]),
        (spec("margin", "raw"), [0.2, -0.4, 0.0, None, None]),
        (spec("winner-score", "raw"), [0.4, 0.4, 0.4, None, 0.4]),
        # minmax over 0.2 … 0.8: a 0, b d e 1/3, c 1.
        (spec("qsd", "minmax"), [1 / 3, 0.0, 2 / 9, None, None]),
        (spec("margin", "minmax"), [1 / 3, -2 / 3, 0.0, None, None]),
        (spec("winner-score", "minmax"), [1 / 3, 1 / 3, 1 / 3, None, 1 / 3]),
    ],
)
def test_raw_and_minmax_by_hand(metric: dict[str, Any], expected: list[float | None]) -> None:
    assert measured(metric) == close(expected)


def test_sigmoid_uses_each_image_of_the_dataset_once() -> None:
    # Images a b c d e: 0.2, 0.4, 0.8, 0.4, 0.4. Mean 0.44; squared deviations .0576 + 3·.0016 + .1296 = .192,
    # over five .0384.
    deviation = math.sqrt(0.0384)
    a, b, c = (logistic((s - 0.44) / deviation) for s in (0.2, 0.4, 0.8))
    expected = [b * (1 - a), b * (1 - c), b * (1 - b), None, None]
    assert measured(spec("qsd", "sigmoid")) == close(expected)


def test_prompt_z_compares_within_the_prompt_and_is_a_half_without_spread() -> None:
    # Prompt p: 0.2, 0.4, 0.8. Mean 1.4/3; squared deviations (.0711…+.0044…+.1111…) = .28/1.5, over three .056/.9.
    mean, deviation = 1.4 / 3, math.sqrt(0.56 / 9)
    a, b, c = (logistic((s - mean) / deviation) for s in (0.2, 0.4, 0.8))
    assert measured(spec("margin", "prompt-z")) == close([b - a, b - c, 0.0, None, None])
    assert measured(spec("winner-score", "prompt-z"))[2] == 0.5


@pytest.mark.parametrize("normalize", ["minmax", "sigmoid", "prompt-z"])
def test_scores_that_are_all_equal_become_a_half(normalize: str) -> None:
    flat = [pair | {"s0": 0.1, "s1": 0.1} for pair in PAIRS[:3]]
    assert measured(spec("winner-score", normalize), pairs=flat) == [0.5, 0.5, 0.5]
    assert measured(spec("qsd", normalize), pairs=flat) == [0.25, 0.25, 0.25]


@pytest.mark.parametrize("normalize", ["minmax", "sigmoid", "prompt-z"])
def test_scaled_metrics_stay_in_their_range_even_for_outliers(normalize: str) -> None:
    wild = [
        {"pair_id": str(i), "prompt_id": "p", "u0": f"a{i}", "u1": f"b{i}", "s0": 0.0, "s1": -0.0, "winner": 0}
        for i in range(500)
    ]
    wild.append({"pair_id": "x", "prompt_id": "p", "u0": "c", "u1": "d", "s0": 3e38, "s1": -3e38, "winner": 0})
    found = measured(spec("qsd", normalize), pairs=wild)
    assert all(value is not None and 0 <= value <= 1 for value in found)
    assert found[-1] == max(value for value in found if value is not None)


def test_random_is_the_documented_hash_and_moves_with_the_seed() -> None:
    def by_hand(seed: int, pair_id: str) -> float:
        return int(hashlib.sha256(f"{seed}:{pair_id}".encode()).hexdigest()[:12], 16) / 2**48

    for seed in (0, 41):
        expected = [by_hand(seed, str(i)) for i in range(1, 6)]
        expected_or_tie = [None if i == 3 else value for i, value in enumerate(expected)]
        assert measured({"name": "random"}, seed=seed) == expected_or_tie


@pytest.mark.parametrize("name", ["qsd", "margin", "winner-score", "random"])
@pytest.mark.parametrize("normalize", NORMALIZE)
def test_a_tie_has_no_metric(name: str, normalize: str) -> None:
    metric = {"name": name} if name == "random" else spec(name, normalize)
    assert measured(metric)[3] is None


def test_another_column_may_say_who_won() -> None:
    turned = [pair | {"winner": None if pair["winner"] is None else 1 - pair["winner"]} for pair in PAIRS]
    assert measured(spec("margin"), pairs=turned)[:3] == close([-0.2, 0.4, 0.0])


def test_unknown_names_are_refused_with_what_exists() -> None:
    with pytest.raises(UnknownNameError, match="did you mean qsd"):
        MetricSpec.model_validate({"name": "qds", "scorer": "a"})
    with pytest.raises(UnknownNameError, match="did you mean pickscore"):
        check_metric(MetricSpec.model_validate({"name": "qsd", "scorer": "pickscor"}), scorers=["pickscore", "clip"])
    with pytest.raises(UsageError, match=r"metric\.scorer: missing; the options of qsd are scorer, normalize"):
        MetricSpec.model_validate({"name": "qsd"})
    with pytest.raises(UsageError, match=r"unknown option 'metric.scorer'; the options of random are none"):
        MetricSpec.model_validate({"name": "random", "scorer": "pickscore"})
    check_metric(MetricSpec.model_validate({"name": "random"}), scorers=[])


def test_a_hostile_scorer_name_stays_a_name() -> None:
    name = 'x" FROM secrets --'
    pairs = [{"pair_id": "1", "prompt_id": "p", "u0": "a", "u1": "b", f"{name}.0": 3.0, f"{name}.1": 1.0, "winner": 0}]
    assert measured_over({"name": "margin", "scorer": name}, pairs) == [2.0]
