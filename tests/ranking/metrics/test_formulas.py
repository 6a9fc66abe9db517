"""Every metric gives the numbers that its formula gives by hand, and nothing where something is missing."""

import math
from typing import Any

import pytest
from framed import close, measured

from ranking.metrics.catalog.gaps import PICKSCORE

# Two scorers of three pairs with a winner, a tie and a pair that lacks a score. Every image is in one pair only.
# Scores of a: 0.5 0.2 | 0.2 0.4 | 0.9 0.3 | 0.7 0.7 | 0.6; of b: 3 1 | 2 2 | 1 2 | 5 5 | 1 4.
ROWS: list[dict[str, Any]] = [
    {"pair_id": "1", "u0": "i", "u1": "j", "winner": 0, "a.0": 0.5, "a.1": 0.2, "b.0": 3.0, "b.1": 1.0},
    {"pair_id": "2", "u0": "k", "u1": "l", "winner": 1, "a.0": 0.2, "a.1": 0.4, "b.0": 2.0, "b.1": 2.0},
    {"pair_id": "3", "u0": "m", "u1": "n", "winner": 0, "a.0": 0.9, "a.1": 0.3, "b.0": 1.0, "b.1": 2.0},
    {"pair_id": "4", "u0": "o", "u1": "q", "winner": None, "a.0": 0.7, "a.1": 0.7, "b.0": 5.0, "b.1": 5.0},
    {"pair_id": "5", "u0": "r", "u1": "s", "winner": 0, "a.0": 0.6, "a.1": None, "b.0": 1.0, "b.1": 4.0},
]
PAIRS = [row | {"prompt_id": "p"} for row in ROWS]

# Nine scores of a: mean 4.5 / 9 = 0.5, squares .25+.04+.04+.16+.81+.09+.49+.49+.36 = 2.73; 2.73 / 9 − .25 = .48 / 9.
DEVIATION_A = math.sqrt(0.48 / 9)
# Ten of b: mean 2.6, squares 9+1+4+4+1+4+25+25+1+16 = 90; 9 − 6.76 = 2.24.
DEVIATION_B = math.sqrt(2.24)


def test_unanimous_is_the_least_sure_scorer_where_all_agree() -> None:
    spec = {"name": "unanimous", "scorers": ["a", "b"]}
    least = min(0.3 / DEVIATION_A, 2 / DEVIATION_B)
    assert measured(spec, PAIRS) == close([least, None, None, None, None])
    mean = (0.3 / DEVIATION_A + 2 / DEVIATION_B) / 2
    assert measured(spec | {"inside": "mean"}, PAIRS)[0] == pytest.approx(mean, abs=1e-12)
    kept = measured(spec | {"outside": "keep"}, PAIRS)
    assert kept == close([least, 0.0, -1 / DEVIATION_B, None, None])


def test_vote_fraction_counts_a_scorer_that_cannot_tell_as_half() -> None:
    assert measured({"name": "vote-fraction", "scorers": ["a", "b"]}, PAIRS) == [1.0, 0.75, 0.5, None, None]


def test_mpcf_keeps_what_reaches_every_threshold() -> None:
    # Gaps of a: .3 .2 .6, of b: 2 0 −1.
    spec: dict[str, Any] = {"name": "mpcf", "thresholds": {"a": 0.1, "b": -0.5}}
    first, second = min(0.2 / DEVIATION_A, 2.5 / DEVIATION_B), min(0.1 / DEVIATION_A, 0.5 / DEVIATION_B)
    assert measured(spec, PAIRS) == close([first, second, None, None, None])
    kept = measured(spec | {"outside": "keep"}, PAIRS)
    assert kept == close([first, second, -0.5 / DEVIATION_B, None, None])
    on_the_line: dict[str, Any] = {"name": "mpcf", "thresholds": {"b": 0.0}}
    assert measured(on_the_line, PAIRS)[1] == 0.0
    assert measured(on_the_line | {"strict": True}, PAIRS)[1] is None


@pytest.mark.parametrize(("preset", "taken"), [("s1", [True, False]), ("s2", [True, True]), ("s3", [True, True])])
def test_mpcf_presets_let_aesthetics_fall_by_so_much(preset: str, taken: list[bool]) -> None:
    rows = [
        {"aes.0": 5.0, "aes.1": 5.0 + worse, "c.0": 0.3, "c.1": 0.3, "v.0": 0.5, "v.1": 0.5, "winner": 0}
        | {"pair_id": str(worse), "prompt_id": "p", "u0": f"i{worse}", "u1": f"j{worse}"}
        for worse in (0.0, 0.5)
    ]
    found = measured({"name": "mpcf", "aesthetic": "aes", "clip": "c", "vqa": "v", "preset": preset}, rows)
    assert [value is not None for value in found] == taken


def test_an_absolute_winner_won_twice_and_never_lost_or_drew() -> None:
    def row(name: str, wins: int, losses: int, ties: int, lost: int) -> dict[str, Any]:
        mine = {"wins_1": wins, "losses_1": losses, "ties_1": ties, "wins_0": 0, "losses_0": lost, "ties_0": 0}
        return {"pair_id": name, "prompt_id": "p", "u0": "a", "u1": "b", "winner": 1} | mine

    rows = [
        row("1", 2, 0, 0, 1),
        row("2", 3, 0, 0, 4),
        row("3", 1, 0, 0, 1),
        row("4", 2, 1, 0, 1),
        row("5", 2, 0, 1, 1),
    ]
    assert measured({"name": "absolute-winner"}, rows) == close([2 + 1 / 2, 3 + 4 / 5, None, None, None])
    assert measured({"name": "absolute-winner", "wins": 1}, rows)[2] == 1.5


def test_curriculum_gap_keeps_the_humans_winner_whatever_the_scorer_says() -> None:
    assert measured({"name": "curriculum-gap", "scorer": "a"}, PAIRS) == close([0.3, 0.2, 0.6, None, None])
    assert measured({"name": "curriculum-gap", "scorer": "b"}, PAIRS) == close([2.0, None, 1.0, None, 3.0])
    spec = {"name": "curriculum-gap", "scorer": "a", "least_gap": 0.25, "least_score": 0.25}
    assert measured(spec, PAIRS) == close([None, None, 0.6, None, None])


def test_dual_margin_is_equation_3() -> None:
    spec: dict[str, Any] = {"name": "dual-margin", "external": "a", "implicit": "b"}
    spec |= {"external_clip": [0.0, 1.0], "implicit_clip": [-2.0, 2.0]}

    def mul(p: float, q: float) -> float:
        return p * q / (p * q + (1 - p) * (1 - q))

    # P_ex: .3 .2 .6; P_im: (2 + 2) / 4 = 1, 2 / 4 = .5, 1 / 4 = .25.
    assert measured(spec, PAIRS) == close([1.0, mul(0.2, 0.5), mul(0.6, 0.25), None, None])
    assert measured(spec | {"combine": "add"}, PAIRS) == close([1.3, 0.7, 0.85, None, None])
    sure_and_sure_not = spec | {"external_clip": [0.3, 0.6], "implicit_clip": [-2.0, 2.0]}
    assert measured(sure_and_sure_not, PAIRS)[0] == 0.5, "0 / 0"


def test_dual_margin_clips_at_quantiles_of_the_margin_unless_told() -> None:
    # Margins of a: .2 .3 .6: at least half of them are at or below .3, all at or below .6.
    spec = {"name": "dual-margin", "external": "a", "implicit": "b", "combine": "add", "quantiles": [0.5, 1.0]}
    # Margins of b: −3 −1 0 2, with M1 = −1 and M2 = 2.
    assert measured(spec, PAIRS) == close([0.0 + 1.0, 0.0 + 1 / 3, 1.0 + 0.0, None, None])


def test_smpo_weight_is_two_p_minus_one() -> None:
    # a goes from .2 to .9: r' of the first pair 3/7 and 0.
    p = math.exp(3 / 7) / (math.exp(3 / 7) + 1)
    spec = {"name": "smpo-weight", "scorer": "a"}
    assert measured(spec, PAIRS)[0] == pytest.approx(2 * p - 1, abs=1e-15)
    assert measured(spec | {"give": "probability"}, PAIRS)[0] == pytest.approx(p, abs=1e-15)
    published = measured(spec | {"constants": "pickscore"}, PAIRS)[0]
    between = 0.3 / (100 * (PICKSCORE[1] - PICKSCORE[0]))
    assert published == pytest.approx(math.tanh(between / 2), abs=1e-15), "2σ(x) − 1 = tanh(x / 2)"


def test_fifa_adds_margin_and_text_quality() -> None:
    rows = [row | {"quality": quality} for row, quality in zip(PAIRS, [1.0, math.e, 4.0, 2.0, 0.0], strict=True)]
    spec = {"name": "fifa", "scorer": "b", "gamma": 0, "alpha": 2.0, "text_quality": "quality", "unit": "raw"}
    assert measured(spec, rows) == close([2.0, 2.0, 1 + 2 * math.log(4), None, None])
    assert measured(spec | {"signed": True, "unit": "deviation"}, rows)[2] == pytest.approx(
        -1 / DEVIATION_B + 2 * math.log(4), abs=1e-12
    )


def test_pareto_ranks_by_fronts_then_by_calibrated_margin() -> None:
    # One prompt: i (3, 3) beats all; j (2, 1) and k (1, 2) are on the second front; l (0, 0) on the third.
    scores = {"i": (3.0, 3.0), "j": (2.0, 1.0), "k": (1.0, 2.0), "l": (0.0, 0.0)}

    def row(name: str, first: str, second: str, winner: int) -> dict[str, Any]:
        (a0, b0), (a1, b1) = scores[first], scores[second]
        return {"pair_id": name, "prompt_id": "p", "u0": first, "u1": second, "winner": winner} | {
            "a.0": a0, "a.1": a1, "b.0": b0, "b.1": b1
        }  # fmt: skip

    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def rate(index: int, image: str) -> float:
        return sum(s(scores[image][index] - other[index]) for name, other in scores.items() if name != image) / 3

    mean = {image: (rate(0, image) + rate(1, image)) / 2 for image in scores}
    found = measured(
        {"name": "pareto", "scorers": ["a", "b"]},
        [row("1", "i", "l", 0), row("2", "j", "i", 0), row("3", "k", "j", 1)],
    )
    assert found == close([2 + (mean["i"] - mean["l"]) / 2, -1 + (mean["j"] - mean["i"]) / 2, 0.0])


def test_weighted_sum_adds_what_is_brought_to_one_scale() -> None:
    # Margins of a: .3 .2 .6, mean 1.1/3, squares .49/3; of b: 2 0 −1 −3, mean −.5, squares 14/4.
    of_a, of_b = math.sqrt(0.49 / 3 - (1.1 / 3) ** 2), math.sqrt(14 / 4 - 0.25)
    margins: list[dict[str, Any]] = [{"name": "margin", "scorer": name} for name in "ab"]
    spec = {"name": "weighted-sum", "of": [{"metric": margins[0], "weight": 0.5}, margins[1]]}
    pairs = zip([0.3, 0.2, 0.6], [2, 0, -1], strict=True)
    expected = [0.5 * (a - 1.1 / 3) / of_a + (b + 0.5) / of_b for a, b in pairs]
    assert measured(spec, PAIRS) == close([*expected, None, None])


def test_a_product_of_two_bad_parts_is_no_good_one() -> None:
    turned = [row | {"winner": None if row["winner"] is None else 1 - row["winner"]} for row in PAIRS]
    spec = {"name": "product", "of": [{"name": "margin", "scorer": "a"}, {"name": "margin", "scorer": "b"}]}
    assert measured(spec, PAIRS) == close([0.6, 0.0, 0.0, None, None])
    assert measured(spec, turned)[0] == 0.0


def test_rank_fusion_adds_reciprocal_places_and_equal_pairs_share_the_better() -> None:
    # By a: .6 .3 .2, so places 2 3 1. By b: 2 0 −1 −3, so places 1 2 3 (and the pair without a metric of a is 4th).
    parts = [{"metric": {"name": "margin", "scorer": "a"}, "weight": 2}, {"name": "margin", "scorer": "b"}]
    found = measured({"name": "rank-fusion", "of": parts}, PAIRS)
    assert found == close([2 / 62 + 1 / 61, 2 / 63 + 1 / 62, 2 / 61 + 1 / 63, None, None])
    equal = [row | {"a.0": 1.0, "a.1": 0.0, "winner": 0} for row in PAIRS]
    alike = {
        "name": "rank-fusion",
        "k": 0,
        "of": [{"name": "margin", "scorer": "a"}, {"name": "margin", "scorer": "a"}],
    }
    assert measured(alike, equal) == [2.0] * 5


def test_a_field_is_a_metric_as_it_is() -> None:
    assert measured({"name": "field", "field": "b.0"}, PAIRS) == [3.0, 2.0, 1.0, None, 1.0]
