"""P(label right): better than what it must beat, never by its own label, and sensible where little is known."""

from dataclasses import replace

import numpy as np
import pytest
from judgements import evidence
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.population import Population, population
from benchmarks.rivals import rivals
from ranking.confidence.calibration import reliability
from ranking.confidence.evidence import Evidence
from ranking.confidence.judge import Judged, judge


@pytest.fixture(scope="module")
def people() -> Population:
    return population(3000, noise=0.2, kind="raters", seed=7, raters=30)


@pytest.fixture(scope="module")
def judged(people: Population) -> Judged:
    return judge(people.evidence)


def _found(people: Population, believed: np.ndarray) -> tuple[float, float]:
    told = people.evidence.winner >= 0
    wrong, doubt = people.wrong[told], -believed[told]
    return float(roc_auc_score(wrong, doubt)), float(average_precision_score(wrong, doubt))


def test_wrong_labels_are_found_better_than_by_any_scorer_vote_or_cleanlab(people: Population, judged: Judged) -> None:
    ours = _found(people, judged.confidence)
    others = {name: _found(people, values) for name, values in rivals(people.evidence).items()}
    assert {"majority vote", "weighted vote", "good, raw or minmax", "cleanlab self_confidence (all we know)"} < set(
        others
    )
    for place in (0, 1):
        best = max(others, key=lambda name: others[name][place])
        assert ours[place] > others[best][place] + 0.03, best


def test_confidence_comes_true_both_of_labels_and_of_the_truth(people: Population, judged: Judged) -> None:
    told = people.evidence.winner >= 0
    assert reliability(judged.confidence[told], (~people.wrong[told]).astype(float)).ece < 0.06
    named = (people.evidence.winner[told] == 0).astype(float)
    assert reliability(judged.answer[told], named).ece < 0.04
    assert 1 - judged.confidence[told].mean() == pytest.approx(people.wrong[told].mean(), abs=0.05)


def test_a_label_has_no_part_in_the_preference_of_its_own_pair(people: Population, judged: Judged) -> None:
    row = int(np.flatnonzero(people.evidence.winner == 0)[11])
    winner = people.evidence.winner.copy()
    winner[row] = 1
    turned = judge(replace(people.evidence, winner=winner))
    assert turned.preference[row] == judged.preference[row]
    assert turned.lapse[row] == judged.lapse[row]
    assert turned.confidence[row] != judged.confidence[row]
    assert (turned.preference != judged.preference).any()


def test_it_does_not_matter_which_image_is_called_0(people: Population, judged: Judged) -> None:
    given = people.evidence
    other = judge(
        replace(
            given,
            scores_0=given.scores_1,
            scores_1=given.scores_0,
            first=given.second,
            second=given.first,
            winner=np.where(given.winner < 0, -1, 1 - given.winner).astype(np.int8),
            model_0=given.model_1,
            model_1=given.model_0,
        )
    )
    assert other.preference == pytest.approx(1 - judged.preference, abs=2e-5)
    assert other.confidence == pytest.approx(judged.confidence, abs=2e-5, nan_ok=True)


def test_a_scorer_under_five_names_outvotes_nobody(people: Population) -> None:
    given = people.evidence
    honest, weak = given.scorers.index("good"), given.scorers.index("weak")
    random = np.random.default_rng(0)

    def committee(copies: int) -> Evidence:
        sides = []
        for scores in (given.scores_0, given.scores_1):
            jitter = random.normal(0, 0.05, (len(given), copies))
            sides.append(np.concatenate([scores[:, [honest]], scores[:, [weak]] + jitter], axis=1).astype(np.float32))
        names = ("honest", *(f"weak-{copy}" for copy in range(copies)))
        return replace(given, scorers=names, scores_0=sides[0], scores_1=sides[1])

    once, five = (judge(committee(copies)) for copies in (1, 5))
    assert np.nanmean(np.abs(once.confidence - five.confidence)) < 0.01
    votes = rivals(committee(5))["majority vote"]
    assert _found(people, five.confidence)[0] > _found(people, votes)[0] + 0.1
    assert _found(people, five.confidence)[0] > _found(people, once.confidence)[0] - 0.005


def test_labels_alone_say_something_once_they_speak_of_each_other() -> None:
    # Item 0 wins everywhere, item 1 loses everywhere, under thirty prompts; in one they meet and 1 is said to win.
    pairs = []
    for prompt in range(30):
        base = 100 * prompt
        pairs += [(base, base + 2, 0), (base + 3, base, 1), (base + 1, base + 4, 1), (base + 5, base + 1, 0)]
        pairs.append((base, base + 1, 1 if prompt == 0 else 0))
    found = judge(evidence(pairs))
    assert found.confidence[4] == found.confidence.min() < 0.75
    assert found.confidence[9] > 0.95
    assert found.preference[4] > 0.9
    assert found.support[4] == 4
    assert np.isfinite(found.confidence).all()


@pytest.mark.parametrize("pairs", [[(0, 1, 0)], [(0, 1, 1), (0, 2, 1), (100, 101, 0)], [(0, 1, -1)], [(0, 0, 0)]])
def test_of_few_pairs_it_says_what_is_usual(pairs: list[tuple[int, int, int]]) -> None:
    found = judge(evidence(pairs))
    told = np.array([winner >= 0 for _, _, winner in pairs])
    assert np.isnan(found.confidence).tolist() == (~told).tolist()
    assert (found.preference > 0.2).all()
    assert (found.preference < 0.8).all()
    assert (found.confidence[told] >= 0.49).all()


def test_labels_that_all_name_image_0_and_scores_that_are_missing_break_nothing() -> None:
    random = np.random.default_rng(5)
    scores = random.normal(0, 1, (5000, 3))
    scores[:, 1] = np.nan
    scores[random.random(5000) < 0.3, 2] = np.nan
    pairs = [(100 * prompt + 2 * step, 100 * prompt + 2 * step + 1, 0) for prompt in range(40) for step in range(3)]
    found = judge(evidence(pairs, scores=scores))
    assert np.isfinite(found.confidence).all()
    assert found.basis.used == (0, 2)


def test_votes_of_several_judges_count_as_so_many() -> None:
    given = evidence([(100 * prompt, 100 * prompt + 1, 0) for prompt in range(60)])
    votes = np.full(60, 9, np.float32)
    against = np.where(np.arange(60) < 30, 0, 8).astype(np.float32)
    found = judge(replace(given, votes_0=votes, votes_1=against))
    assert found.confidence[:30].min() > 0.9
    assert found.confidence[30:].max() < 0.8
