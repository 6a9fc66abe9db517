"""How scorers fared is counted with the wide table, and what is odd is told in plain words."""

import random
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored import score_all

from ranking.datasets import Dataset
from ranking.features.items import ItemScores
from ranking.features.tallies import FEW, Tally, moments, tally, warnings_of
from ranking.features.wide import checked_wide, scorer_tallies
from ranking.schema import CORRUPT, NON_FINITE, OK, STATUSES
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot


def scores(values: list[float | None], status: str = CORRUPT) -> ItemScores:
    codes = [STATUSES.index(OK if value is not None else status) for value in values]
    return ItemScores(np.array(values, np.float32), np.array(codes, np.int8))


def several(n: int) -> npt.NDArray[np.int32]:
    return np.arange(n, dtype=np.int32)


def never() -> npt.NDArray[np.int32]:
    raise AssertionError("images are looked at only where all scores are one")


def test_scores_and_reasons_are_counted_and_what_is_not_committed_is_not() -> None:
    found = scores([0.5, None, -2.0, None, 1.5])
    found.status[3] = -1
    # The mean of 0.5, −2 and 1.5 is 0; their mean square (0.25 + 4 + 2.25) / 3.
    assert tally(found, never) == Tally(3, -2.0, 1.5, {CORRUPT: 1}, constant=False, deviation=(6.5 / 3) ** 0.5)
    assert tally(scores([None, None], NON_FINITE), never) == Tally(0, None, None, {NON_FINITE: 2}, constant=False)


@settings(max_examples=50)
@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40), order=st.randoms())
def test_mean_and_deviation_are_those_of_the_textbook_in_any_order(values: list[float], order: random.Random) -> None:
    found = moments(np.array(values, np.float32))
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    deviation = float(sum((value - mean) ** 2 for value in exact) / len(exact)) ** 0.5
    size = max(map(abs, values))
    assert found == (pytest.approx(float(mean), abs=1e-14 * size), pytest.approx(deviation, abs=1e-7 * size))
    order.shuffle(values)
    assert moments(np.array(values, np.float32)) == found


@pytest.mark.parametrize(
    ("values", "images", "constant"),
    [
        ([0.25] * FEW, several(FEW), True),
        ([0.25] * (FEW - 1), several(FEW - 1), False),
        ([0.25] * FEW, np.zeros(FEW, np.int32), False),  # one image under many prompts
        ([*[0.25] * FEW, None], several(FEW + 1), True),
        ([*[0.25] * (FEW - 1), None, None], several(FEW + 1), False),
        ([*[0.25] * FEW, 0.2500001], several(FEW + 1), False),
        ([*[0.25] * FEW, None], np.array([3] * FEW + [4], np.int32), False),  # the other image has no score
    ],
)
def test_constant_is_one_number_for_enough_items_of_several_images(
    values: list[float | None], images: npt.NDArray[np.int32], constant: bool
) -> None:
    assert tally(scores(values), lambda: images).constant is constant


def test_the_warnings_say_what_is_the_matter_and_what_to_do() -> None:
    flat = Tally(1200, 0.25, 0.25, {}, constant=True)
    holed = Tally(970, 0.0, 1.0, {"corrupt": 9, "non_finite": 21}, constant=False)
    fine = Tally(990, 0.0, 1.0, {"missing": 10}, constant=False)
    told = warnings_of({"flat": flat, "holed": holed, "fine": fine}, dataset="pets")
    assert [(warning.scorer, warning.code, warning.dataset) for warning in told] == [
        ("flat", "constant-scores", "pets"),
        ("holed", "scores-missing", "pets"),
    ]
    assert told[0].message == "flat gives all 1,200 items of pets the same score, 0.25"
    assert told[1].message == "holed has no score for 30 of 1,000 items of pets, 3.0 % (9 corrupt, 21 non finite)"
    assert "fp32" in told[1].todo and "weights" in told[0].todo


def test_every_status_has_advice() -> None:
    for status in STATUSES:
        if status != OK:
            [warning] = warnings_of({"s": Tally(1, 0.0, 0.0, {status: 99}, constant=False)}, dataset="pets")
            assert len(warning.todo) > 20


def test_the_wide_table_keeps_what_is_also_counted_without_it(store: Store, dataset: Dataset) -> None:
    snapshot = score_all(
        store, "pets", {"flat@00000000": lambda _: 0.5, "holed@11111111": lambda uid: None if uid == "img-4" else 1 / 3}
    )
    before = scorer_tallies(store, snapshot, "pets")
    wide, _ = checked_wide(store, snapshot, "pets")
    again, _ = checked_wide(store, snapshot, "pets")
    assert before == wide.tallies == again.tallies == scorer_tallies(store, snapshot, "pets")
    assert before["flat"] == Tally(dataset.n_items, 0.5, 0.5, {}, constant=True, mean=0.5)
    assert before["holed"].without == {"missing": 1} and before["holed"].constant


def test_a_record_that_does_not_read_is_counted_again(store: Store, snapshot: Snapshot) -> None:
    wide, _ = checked_wide(store, snapshot, "pets")
    [key] = [key for key in store.list("wide") if key.endswith(".json")]
    store.local(key).write_bytes(b'{"tallies":')
    assert scorer_tallies(store, snapshot, "pets") == wide.tallies
