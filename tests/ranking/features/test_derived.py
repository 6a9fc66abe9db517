"""Every derived field says what its documentation says: numbers worked by hand from four images of a cat and two of a
dog."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, write
from scored import score_all

from ranking import duck
from ranking.errors import UnknownNameError
from ranking.features.columns import columns_key
from ranking.features.derived import derived_fields, expression
from ranking.features.pairs import PairTable, known_fields
from ranking.features.tallies import Tally
from ranking.ingest import ingest
from ranking.store.blobs import Store

JUDGED = (
    Row("cat", "w", "x", winner=0),
    Row("cat", "x", "y", winner=1, ranking=1),
    Row("cat", "w", "y", winner=None, ranking=2),
    Row("cat", "y", "z", winner=0, ranking=3),
    Row("dog", "p", "q", winner=0, ranking=4, model_1="drawer-a"),
)
A = {"w": 0.75, "x": 0.25, "y": 0.25, "z": None, "p": 0.5, "q": 1.0}
"""Of the dataset: least 0.25, greatest 1, mean 2.75 / 5 = 0.55, deviation √(0.425 / 5) = √0.085. Of the cat: mean
1.25 / 3, deviation √(1 / 18). Of the dog: mean 0.75, deviation 0.25."""
B = {"w": 0.5, "x": 1.0, "y": 2.0, "z": 3.0, "p": 1.0, "q": 1.0}

D = 0.085**0.5
C, S = 1.25 / 3, (1 / 18) ** 0.5
T = (14.25 / 4 - 1.625**2) ** 0.5  # of B's scores of the cat: mean square − mean²
BY_HAND: dict[str, list[Any]] = {
    "winner_model": ["drawer-a", "drawer-b", None, "drawer-a", "drawer-a"],
    "loser_model": ["drawer-b", "drawer-a", None, "drawer-b", "drawer-a"],
    "same_model": [False, False, False, False, True],
    # y is as good as x to A and better to B, w and y each better to one, q better than p to A and equal to B; z is
    # not compared, as A gives it nothing.
    "pareto_0": [1, 2, 1, 1, 2],
    "pareto_1": [2, 1, 1, None, 1],
    "pareto_gap": [1, 1, None, None, -1],
    "vote_share": [0.5, 1.0, None, 0.0, 0.0],
    "winner_dominates": [False, True, None, False, False],
    "loser_dominates": [False, False, None, True, True],
    "a.agrees": [True, None, None, None, False],
    "b.agrees": [False, True, None, False, None],
    "a.zgap": [0.5 / D, 0.0, None, None, -0.5 / D],
    "a.prompt_zgap": [0.5 / S, 0.0, None, None, -2.0],
    "b.prompt_zgap": [-0.5 / T, 1 / T, None, -1 / T, 0.0],
    "a.minmax_0": [2 / 3, 0.0, 2 / 3, 0.0, 1 / 3],
    "a.minmax_1": [0.0, 0.0, 0.0, None, 1.0],
    "a.z_0": [0.2 / D, -0.3 / D, 0.2 / D, -0.3 / D, -0.05 / D],
    "a.z_1": [-0.3 / D, -0.3 / D, -0.3 / D, None, 0.45 / D],
    "a.prompt_mean": [C, C, C, C, 0.75],
    "a.prompt_deviation": [S, S, S, S, 0.25],
    "b.prompt_deviation": [T, T, T, T, 0.0],
    "a.centred_0": [0.75 - C, 0.25 - C, 0.75 - C, 0.25 - C, -0.25],
    "a.centred_1": [0.25 - C, 0.25 - C, 0.25 - C, None, 0.25],
    "a.prompt_z_0": [2**0.5, -(0.5**0.5), 2**0.5, -(0.5**0.5), -1.0],
    "a.prompt_z_1": [-(0.5**0.5)] * 3 + [None, 1.0],
    "b.prompt_z_0": [-1.125 / T, -0.625 / T, -1.125 / T, 0.375 / T, 0.0],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> PairTable:
    """For tests that only read."""
    return made(tmp_path_factory.mktemp("derived"))


def made(folder: Path) -> PairTable:
    store = Store.open(folder / "store")
    ingest(store, write(folder / "a.parquet", list(JUDGED)), "pets")
    return PairTable(
        store, score_all(store, "pets", {"a@00000000": A.__getitem__, "b@00000000": B.__getitem__}), "pets"
    )


def read(table: PairTable, *names: str) -> dict[str, list[Any]]:
    with table.connect() as con:
        columns = ", ".join(duck.identifier(name) for name in names)
        found = duck.arrow(con, f"SELECT {columns} FROM {table.relation(names)}")
    return {name: found[name].to_pylist() for name in names}


def test_derived_values_are_those_worked_by_hand(table: PairTable) -> None:
    found = read(table, *BY_HAND)
    for name, expected in BY_HAND.items():
        assert found[name] == [pytest.approx(value) if isinstance(value, float) else value for value in expected], name


def test_images_that_are_decoded_give_their_size_and_likeness() -> None:
    fields = derived_fields([])
    known = "SELECT 1200 AS width_0, 800 AS height_0, 512 AS width_1, NULL::INTEGER AS height_1"
    with duck.connect() as con:
        for name, value in {
            "megapixels_0": 0.96,
            "aspect_0": 1.5,
            "smaller_side_0": 800,
            "megapixels_1": None,
            "aspect_1": None,
        }.items():
            found = duck.arrow(con, f"SELECT {expression(fields[name], {})} AS found FROM ({known})")
            assert found["found"].to_pylist() == [value], name
        for same, distance, expected in (
            ("true", 0, True),
            ("NULL", 3, True),
            ("false", 4, False),
            ("NULL", "NULL", None),
        ):
            text = f"SELECT {same}::BOOLEAN AS same_bytes, {distance}::INTEGER AS phash_distance"
            found = duck.arrow(con, f"SELECT {expression(fields['near_identical'], {})} AS found FROM ({text})")
            assert found["found"].to_pylist() == [expected], (same, distance)


@pytest.mark.parametrize(
    ("winner", "votes", "share"), [(0, (3, 1), 0.75), (1, (3, 1), 0.25), (None, (2, 2), None), (0, (None, None), None)]
)
def test_the_share_of_judges_is_that_of_the_winner(
    winner: int | None, votes: tuple[int | None, int | None], share: float | None
) -> None:
    given = [value if value is not None else "NULL" for value in (winner, *votes)]
    text = "SELECT {}::INTEGER AS winner, {}::DOUBLE AS votes_0, {}::DOUBLE AS votes_1".format(*given)
    with duck.connect() as con:
        found = duck.arrow(con, f"SELECT {expression(derived_fields([])['judge_share'], {})} AS found FROM ({text})")
    assert found["found"].to_pylist() == [share]


def test_a_scorer_that_says_always_the_same_has_no_gap_in_its_own_units() -> None:
    same = {"s": Tally(9, 0.5, 0.5, {}, constant=True, mean=0.5, deviation=0.0)}
    none = {"s": Tally(0, None, None, {}, constant=False)}
    row = 'SELECT 0.5 AS "s.0", NULL::FLOAT AS "s.1", 0.0 AS "s.gap"'
    expected = {"s.minmax_0": 0.5, "s.minmax_1": None, "s.z_0": 0.0, "s.z_1": None, "s.zgap": 0.0}
    with duck.connect() as con:
        for name, value in expected.items():
            field = derived_fields(["s"])[name]
            found = duck.arrow(con, f"SELECT {expression(field, same)} AS found FROM ({row})")
            assert found["found"].to_pylist() == [value], name
            unscored = f"SELECT {expression(field, none)} AS found FROM ({row.replace('0.5', 'NULL::FLOAT')})"
            duck.arrow(con, unscored)  # without any score there is still an answer


def test_no_value_looks_at_the_label_unless_it_is_about_the_winner(store: Store, tmp_path: Path) -> None:
    """Turning every verdict round changes what is said of the winner and nothing else."""
    tables = []
    for name, turn in (("pets", False), ("turned", True)):
        rows = [
            Row(r.prompt, r.image_0, r.image_1, 1 - r.winner if turn and r.winner is not None else r.winner)
            for r in JUDGED
        ]
        ingest(store, write(tmp_path / f"{name}.parquet", rows), name)
        snapshot = score_all(store, name, {"a@00000000": A.__getitem__, "b@00000000": B.__getitem__})
        tables.append(PairTable(store, snapshot, name))
    about_winner = {"winner_model", "loser_model", "judge_share", "vote_share", "winner_dominates", "loser_dominates"}
    about_winner |= {"pareto_gap", *(f"{s}.{part}" for s in "ab" for part in ("agrees", "zgap", "prompt_zgap"))}
    others = set(derived_fields(["a", "b"])) - about_winner
    sets = {name: columns for name, columns in tables[0].column_sets.items() if name != "confidence"}  # about labels
    others |= {field.name for columns in sets.values() for field in columns.fields}
    before, after = (read(table, *sorted(others)) for table in tables)
    assert before == after


def test_every_derived_field_is_checked_here(table: PairTable) -> None:
    one = {name for name in derived_fields(["a"]) if name not in ("judge_share", "near_identical")}
    elsewhere = {name for name in one if name.startswith(("megapixels", "aspect", "smaller_side"))}
    assert one - elsewhere <= set(BY_HAND)
    for name, field in known_fields(["a"], []).items():
        assert field.meaning, name
        assert set(field.reads) <= set(known_fields(["a"], [])), name
        assert all(known_fields(["a"], [])[read].sql is None for read in field.reads), name


def test_named_fields_keep_every_pair_in_the_order_of_ingestion(table: PairTable) -> None:
    found = read(table, "source", "row", "a.prompt_z_0", "pareto_0", "language")
    assert list(zip(found["source"], found["row"], strict=True)) == [(0, row) for row in range(5)]


def test_an_unknown_field_is_named_with_its_neighbours(table: PairTable) -> None:
    with pytest.raises(UnknownNameError, match=r"a\.zgaps.*a\.zgap"):
        table.relation(["a.zgaps"])


def test_what_is_not_named_is_not_computed(tmp_path: Path) -> None:
    table = made(tmp_path)
    read(table, "a.gap", "a.zgap", "vote_share")
    assert table.store.list("columns") == []
    read(table, "a.centred_0")
    described = columns_key(table, table.column_sets["prompt-scale.a"])
    assert [key for key in table.store.list("columns") if key.endswith(".json")] == [described]


def test_columns_are_computed_once_and_again_when_they_are_damaged(tmp_path: Path) -> None:
    table = made(tmp_path)
    first = read(table, "pareto_0")
    kept = [key for key in table.store.list("columns") if key.endswith(".parquet")]
    path = table.store.local(kept[0])
    stamp = path.stat().st_mtime_ns
    assert read(table, "pareto_0") == first
    assert path.stat().st_mtime_ns == stamp
    path.chmod(0o644)
    path.write_bytes(b"rot")
    assert read(table, "pareto_0") == first
    assert pq.read_table(path)["pareto_0"].to_pylist() == first["pareto_0"]
