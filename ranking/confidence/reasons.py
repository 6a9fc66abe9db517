"""Why a pair's label is believed or not: what each kind of evidence adds to the log-odds that it is right, in words and
numbers that sum to the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ranking import duck
from ranking.confidence.columns import COLUMNS, report_for
from ranking.confidence.evidence import FOLDS, Evidence
from ranking.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import duckdb

    from ranking.confidence.report import Report
    from ranking.features.pairs import PairTable

_NAMED = 3


@dataclass(frozen=True)
class Reason:
    """One kind of evidence. `log_odds` is what it adds, natural logarithm, positive where it speaks for the label."""

    kind: str
    text: str
    log_odds: float


@dataclass(frozen=True)
class Reasons:
    """A pair's label, how likely it is right, and why: log(p / (1 − p)) is the sum of the reasons' log-odds."""

    pair_id: str
    winner: int
    confidence: float
    preference_0: float
    reasons: tuple[Reason, ...]


def reasons(table: PairTable, pair_id: str) -> Reasons:
    """The reasons of one pair: one for each scorer that has a say, the models, the other labels of its images, and the
    rater. NotFoundError for an unknown pair, UsageError for a tie."""
    report = report_for(table)
    with table.connect() as con:
        relation = table.relation([field.name for field in COLUMNS.fields])
        row = _row(con, relation, pair_id, table.dataset)
        sign = 1.0 if row["winner"] == 0 else -1.0
        alone, told = (_log_odds(row[name]) * sign for name in ("scorer_preference_0", "preference_0"))
        right = _log_odds(row["label_confidence"])
        found = [
            *_of_scorers(table, con, row, report, alone, sign),
            Reason("labels", _neighbours(con, relation, row), told - alone),
            Reason("rater", _rater(con, relation, row), right - told),
        ]
    return Reasons(pair_id, row["winner"], row["label_confidence"], row["preference_0"], tuple(found))


def _row(con: duckdb.DuckDBPyConnection, relation: str, pair_id: str, dataset: str) -> dict[str, Any]:
    fold = "(md5_number_lower(coalesce(prompt_cluster, prompt_id)) % ?)::INTEGER AS fold"
    found = duck.arrow(con, f"SELECT *, {fold} FROM {relation} WHERE pair_id = ?", [FOLDS, pair_id]).to_pylist()
    if not found:
        raise NotFoundError(f"dataset {dataset} has no pair {pair_id}", hint="`pairsieve rank` lists pair ids")
    if found[0]["winner"] is None:
        raise UsageError(f"pair {pair_id} is a tie, which has no confidence", hint="choose a pair with a winner")
    return dict(found[0])


def _of_scorers(
    table: PairTable,
    con: duckdb.DuckDBPyConnection,
    row: dict[str, Any],
    report: Report,
    total: float,
    sign: float,
) -> list[Reason]:
    """Scorers and models, in the shares in which their columns make up the margin of the pair's fold."""
    from ranking.confidence.report import basis_of

    basis = basis_of(report)
    evidence = _evidence(table, row, dict(zip(report.basis["models"], basis.kept, strict=True)))
    terms = basis.columns(evidence)[0] * np.array(report.folds[row["fold"]].weights) * sign
    count = len(basis.used)
    parts = np.zeros(count + 1)
    owners = np.where(basis.owner < 0, count, basis.owner)
    double = basis.partner >= 0
    np.add.at(parts, owners, np.where(double, terms / 2, terms))
    np.add.at(parts, basis.partner[double], terms[double] / 2)
    # The log-odds are a steeper function of the margin than itself: each part by the same factor.
    whole = float(parts.sum())
    parts *= total / whole if abs(whole) > 1e-12 else 0.0
    preferring = [name for name in table.scorers if (row[f"{name}.gap"] or 0) != 0]
    agree = sum((row[f"{name}.gap"] or 0) > 0 for name in preferring)
    summary = f"{agree} of {len(preferring)} scorers prefer the winner" if preferring else "no scorer tells them apart"
    out: list[Reason] = []
    for index in np.argsort(-np.abs(parts[:count]), kind="stable"):
        name = table.scorers[basis.used[index]]
        gap = row[f"{name}.gap"]
        said = "has no score of one of them" if gap is None else f"gives the winner {gap:+.4g} against the loser"
        # Once is enough: the first is the one that counts most.
        out.append(Reason("scorer", f"{name} {said}{'' if out else f' ({summary})'}", float(parts[index])))
    if row["model_0"] is not None and row["model_1"] is not None and row["model_0"] != row["model_1"]:
        out.append(Reason("models", _versus(con, table, row), float(parts[count])))
    elif abs(parts[count]) > 0:
        out.append(Reason("models", "one of the models is unknown", float(parts[count])))
    if not out:
        out.append(Reason("scorer", "no scorer and no model has a say", 0.0))
    # What rounding and a margin of exactly nothing leave over belongs to all of them; the first bears it.
    rest = total - sum(reason.log_odds for reason in out)
    return [Reason(out[0].kind, out[0].text, out[0].log_odds + rest), *out[1:]]


def _evidence(table: PairTable, row: dict[str, Any], codes: dict[str, int]) -> Evidence:
    scores = [
        np.array([[np.nan if row[f"{name}.{side}"] is None else row[f"{name}.{side}"] for name in table.scorers]])
        for side in (0, 1)
    ]
    one = np.zeros(1, np.int64)
    none = np.full(1, np.nan, np.float32)
    return Evidence(
        scorers=tuple(table.scorers),
        scores_0=scores[0].astype(np.float32).reshape(1, len(table.scorers)),
        scores_1=scores[1].astype(np.float32).reshape(1, len(table.scorers)),
        first=one,
        second=one + 1,
        winner=np.array([row["winner"]], np.int8),
        votes_0=none,
        votes_1=none,
        rater=one - 1,
        model_0=np.array([codes.get(row["model_0"], -1)]),
        model_1=np.array([codes.get(row["model_1"], -1)]),
        cluster=one,
        fold=np.zeros(1, np.int8),
    )


def _versus(con: duckdb.DuckDBPyConnection, table: PairTable, row: dict[str, Any]) -> str:
    mine, other = (row[f"model_{side}"] for side in (row["winner"], 1 - row["winner"]))
    found = duck.arrow(
        con,
        f"""SELECT count(*) AS pairs, avg((CASE winner WHEN 0 THEN model_0 ELSE model_1 END = ?)::INTEGER) AS share
        FROM {table.relation(())} WHERE winner IS NOT NULL AND pair_id <> ?
        AND ((model_0 = ? AND model_1 = ?) OR (model_0 = ? AND model_1 = ?))""",
        [mine, row["pair_id"], mine, other, other, mine],
    ).to_pylist()[0]
    if not found["pairs"]:
        return f"{mine} and {other} met in no other pair"
    return f"{mine} wins {found['share']:.0%} of {found['pairs']:,} other pairs against {other}"


def _neighbours(con: duckdb.DuckDBPyConnection, relation: str, row: dict[str, Any]) -> str:
    """What other pairs under the prompt say of the two images, the first few by name."""
    mine, other = (row[f"image_{side}_uid"] for side in (row["winner"], 1 - row["winner"]))
    sides = [f"image_{side}_uid" for side in (0, 1)]
    found = duck.arrow(
        con,
        f"""SELECT CASE winner WHEN 0 THEN {sides[0]} ELSE {sides[1]} END AS won,
            CASE winner WHEN 0 THEN {sides[1]} ELSE {sides[0]} END AS lost
        FROM {relation} WHERE prompt_id = ? AND pair_id <> ? AND winner IS NOT NULL
            AND ({sides[0]} IN (?, ?) OR {sides[1]} IN (?, ?)) ORDER BY pair_id""",
        [row["prompt_id"], row["pair_id"], mine, other, mine, other],
    ).to_pylist()
    texts = []
    for name, uid in (("the winner", mine), ("the loser", other)):
        for verb, key, against in (("won against", "won", "lost"), ("lost to", "lost", "won")):
            met = [each[against] for each in found if each[key] == uid]
            if met:
                more = f" and {len(met) - _NAMED} more" if len(met) > _NAMED else ""
                names = ["the other image" if each in (mine, other) else each for each in met[:_NAMED]]
                texts.append(f"{name} {verb} {', '.join(names)}{more}")
    return "; ".join(texts) or "no other label speaks of either image"


def _rater(con: duckdb.DuckDBPyConnection, relation: str, row: dict[str, Any]) -> str:
    votes = [row["votes_0"], row["votes_1"]]
    if None not in votes:
        return f"{votes[row['winner']]:g} of {sum(votes):g} votes are for the winner"
    if row["rater"] is None:
        return "the rater is unknown, and taken to be like all others"
    found = duck.arrow(
        con,
        f"""SELECT count(*) AS pairs, avg(((preference_0 > 0.5) = (winner = 0))::INTEGER) AS share FROM {relation}
        WHERE rater = ? AND winner IS NOT NULL AND pair_id <> ?""",
        [row["rater"], row["pair_id"]],
    ).to_pylist()[0]
    rate = f"about {1 - row['rater_reliability']:.0%} of the rater's answers are the opposite of what was seen"
    if not found["pairs"]:
        return f"rater {row['rater']} chose it, and judged no other pair; {rate}"
    return (
        f"rater {row['rater']} chose it, and agrees with the committee in {found['share']:.0%} of "
        f"{found['pairs']:,} other pairs; {rate}"
    )


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
