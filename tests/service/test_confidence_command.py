"""Label confidence through the product: columns to filter, rank and weigh by, a report, and reasons that add up."""

from hashlib import sha256
from math import log
from pathlib import Path

import pytest
from command_line import pairsieve
from pickapic_factory import Row, write
from scored import score_all

from ranking import duck
from ranking.confidence.columns import report_for
from ranking.features.pairs import PairTable
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import rank


def _quality(uid: str) -> float:
    return int(sha256(uid.encode()).hexdigest()[:6], 16) / 2**24


def _rows() -> list[Row]:
    rows = []
    for number in range(240):
        prompt, step = divmod(number, 4)
        first, second = f"p{prompt}-{step}", f"p{prompt}-{step + 1}"
        right = 0 if _quality(first) > _quality(second) else 1
        # Rater 3 answers the opposite every other time.
        winner = None if number % 24 == 0 else 1 - right if prompt % 4 == 3 and step % 2 else right
        rows.append(Row(f"number {prompt} of its kind", first, second, winner=winner, user=prompt % 4, ranking=number))
    return rows


@pytest.fixture
def table(store: Store, tmp_path: Path) -> PairTable:
    ingest(store, write(tmp_path / "a.parquet", _rows()), "pets")
    scorers = {
        "keen@00000000": lambda uid: _quality(uid) + 0.3 * _quality(f"noise {uid}"),
        "dull@11111111": lambda uid: None if uid.endswith("7-1") else _quality(f"dull {uid}"),
        "flat@22222222": lambda _: 1.0,
    }
    return PairTable(store, score_all(store, "pets", scorers), "pets")


def test_a_recipe_filters_ranks_and_weighs_by_the_confidence_of_labels(store: Store, table: PairTable) -> None:
    fields = ["label_confidence", "preference_0", "rater_reliability", "label_support"]
    with table.connect() as con:
        rows = duck.arrow(con, f"SELECT * FROM {table.relation(fields)}").to_pylist()
    sure = {row["pair_id"]: row["label_confidence"] for row in rows}
    assert all((row["label_confidence"] is None) == row["is_tie"] for row in rows)
    assert all(0 < row["preference_0"] < 1 for row in rows)
    recipe = parse_recipe(
        {
            "name": "sure",
            "dataset": "pets",
            "where": {"field": "label_confidence", "op": "gte", "value": 0.6},
            "metric": {"name": "label-confidence"},
            "labels": {"soft": "label_confidence"},
            "weights": "label_confidence",
            "take": {"percent": 100},
        }
    )
    taken = rank(store, table.snapshot, recipe).to_pylist()
    taken = [row for row in taken if row.get("taken", True)]
    assert [row["metric"] for row in taken] == sorted((row["metric"] for row in taken), reverse=True)
    assert {row["pair_id"] for row in taken} == {pair for pair, value in sure.items() if value and value >= 0.6}
    assert all(row["metric"] == row["preference"] == row["weight"] == sure[row["pair_id"]] for row in taken)


def test_the_report_names_the_scorer_that_tells_and_the_rater_who_errs_and_comes_back_if_lost(
    store: Store, table: PairTable
) -> None:
    report = report_for(table)
    weights = {scorer.scorer: scorer for scorer in report.scorers}
    assert weights["keen"].weight > 5 * abs(weights["dull"].weight)
    assert not weights["flat"].used
    assert report.raters[0].rater == "3"
    assert report.raters[0].lapse > 2 * report.raters[1].lapse
    (key,) = [key for key in store.list("columns") if "confidence.report" in key]
    store.delete(key)
    assert report_for(table) == report


def test_the_command_shows_the_report_and_reasons_that_sum_to_the_confidence(table: PairTable, tmp_path: Path) -> None:
    shown = pairsieve("confidence", "pets", "--plot", tmp_path / "curve.svg")
    assert shown.status == 0, shown.err
    assert "curve.svg" in shown.err
    refused = pairsieve("confidence", "pets", "--plot", tmp_path / "curve.png")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert not (tmp_path / "curve.png").exists()
    said = " ".join(shown.out.split())
    assert "230 of 240 pairs have a winner" in said
    assert "not used: all alike" in said
    assert (tmp_path / "curve.svg").read_text().count("<circle") > 3
    with table.connect() as con:
        found = duck.arrow(con, f"SELECT pair_id, label_confidence FROM {table.relation(['label_confidence'])}")
    for row in found.to_pylist()[1:240:40]:
        why = pairsieve("confidence", "pets", "--pair", row["pair_id"], "--json").json()
        sure = row["label_confidence"]
        total = sum(reason["log_odds"] for reason in why["reasons"])
        assert total == pytest.approx(log(sure / (1 - sure)), abs=1e-9)
        texts = " / ".join(reason["text"] for reason in why["reasons"])
        assert texts.count("scorers prefer the winner") == 1
        assert "agrees with the committee in" in texts
    tie = found["pair_id"][0].as_py()
    refused = pairsieve("confidence", "pets", "--pair", tie)
    assert refused.status == 2
    assert "is a tie" in refused.err
    assert "has no pair nowhere" in pairsieve("confidence", "pets", "--pair", "nowhere").err
