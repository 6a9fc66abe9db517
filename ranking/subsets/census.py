"""What a whole dataset looks like in numbers, the "before" of every subset of it: counted once for a snapshot, and
kept. Derivable, so deletable."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import duckdb
import numpy as np

from ranking.errors import UNUSABLE, NotFoundError, StoreError
from ranking.features.pairs import PairTable
from ranking.names import canonical_json, parse_json, sha256_hex
from ranking.subsets.distributions import BINS, Count, Distribution, count_all, of_scorers

VERSION: Final = 1  # raise it when the numbers change: kept ones are then stale


def census(table: PairTable, con: duckdb.DuckDBPyConnection) -> tuple[dict[str, Any], list[Distribution]]:
    """The `sizes` of the dataset, and its scorers' distributions with `before` counted. `con` has its pairs as
    `labelled`."""
    key = f"statistics/{table.snapshot.sha[:16]}/{table.dataset}.v{VERSION}.json"
    kept = _kept(table, key)
    found = of_scorers(table.wide.tallies)
    if kept is not None:
        for each, count in zip(found, kept["counts"], strict=True):
            each.before = count
        return kept["sizes"], found
    count_all(table.scanned, found)
    counted = sizes(con, "labelled")
    counts = [asdict(each.before) | {"bins": each.before.bins.tolist()} for each in found]
    record = {"sizes": counted, "counts": counts, "table": table.wide.table.sha256}
    table.confirm()  # nothing is kept of a file whose hash is still to come
    table.store.put_if_absent(key, canonical_json(record | {"sha256": sha256_hex(canonical_json(record))}))
    return counted, found


def _kept(table: PairTable, key: str) -> dict[str, Any] | None:
    """What was counted of this very table before; a record that is damaged, or of another table, goes."""
    store = table.store
    if not store.exists(key):
        return None
    try:
        record = parse_json(store.get(key), where=key)
        signed = record.pop("sha256") == sha256_hex(canonical_json(record))
        if signed and record["table"] == table.wide.table.sha256:
            counts = [Count(**each | {"bins": np.array(each["bins"], np.int64)}) for each in record["counts"]]
            if all(len(count.bins) == BINS for count in counts) and len(counts) == len(of_scorers(table.wide.tallies)):
                return {"sizes": record["sizes"], "counts": counts}
    except (KeyError, TypeError, ValueError, AttributeError, NotFoundError, StoreError) as error:
        if isinstance(error, StoreError) and error.code == UNUSABLE:
            raise  # a store out of reach has damaged nothing
    store.delete(key)
    return None


def sizes(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, Any]:
    """How many pairs, prompts, prompt clusters, ties and raters a relation of pairs has, its effective prompts, and how
    many images each model drew; `ranking.subsets.statistics` says how they are counted."""
    ((pairs, ties),) = con.sql(f"SELECT count(*), count(*) FILTER (is_tie) FROM {relation}").fetchall()
    prompts, squares = _spread(con, relation, "prompt_id")
    return {
        "pairs": pairs,
        "prompts": prompts,
        "prompt_clusters": _spread(con, relation, "prompt_cluster")[0],
        "ties": ties,
        "raters": _spread(con, relation, "rater")[0],
        "effective_prompts": pairs**2 / squares if squares else 0.0,
        "models": _models(con, relation),
    }


def _spread(con: duckdb.DuckDBPyConnection, relation: str, column: str) -> tuple[int, int]:
    """How many different values there are, and the sum of the squares of how often each occurs."""
    query = f"""SELECT count(*), coalesce(sum(n::HUGEINT * n), 0)
                FROM (SELECT count(*) AS n FROM {relation} WHERE {column} IS NOT NULL GROUP BY {column})"""
    ((different, squares),) = con.sql(query).fetchall()
    return int(different), int(squares)


def _models(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, int]:
    pairs = f"SELECT model_0, model_1, count(*) AS n FROM {relation} GROUP BY model_0, model_1"
    query = f"""SELECT model, sum(n)::BIGINT FROM (
                    SELECT model_0 AS model, n FROM ({pairs}) UNION ALL SELECT model_1, n FROM ({pairs}))
                WHERE model IS NOT NULL GROUP BY model ORDER BY model"""
    return dict(con.sql(query).fetchall())
