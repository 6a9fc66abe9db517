"""Reads the evidence of a dataset's pairs from its wide table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking import duck
from ranking.confidence.evidence import FOLDS, Evidence
from ranking.features.pairs import PairTable

_BATCH = 131_072


def read_evidence(table: PairTable) -> Evidence:
    """The evidence of every pair, in the order of the wide table. The fold of a pair follows from its cluster of
    near-duplicate prompts alone."""
    scorers = tuple(table.scorers)
    rows = table.wide.table.rows
    scores = [np.full((rows, len(scorers)), np.nan, np.float32) for _ in range(2)]
    items = [np.zeros(rows, np.int64) for _ in range(2)]
    votes = [np.full(rows, np.nan, np.float32) for _ in range(2)]
    winner, prompt = np.full(rows, -1, np.int8), np.zeros(rows, np.int64)
    names: dict[str, list[Any]] = {"rater": [], "model_0": [], "model_1": []}
    at = 0
    with table.connect() as con:
        reader = con.sql(_query(table.relation(()), scorers)).to_arrow_reader(_BATCH)
        for batch in reader:
            part = slice(at, at + len(batch))
            for side in (0, 1):
                for place in range(len(scorers)):
                    scores[side][part, place] = _floats(batch.column(f"s{place}_{side}"))
                items[side][part] = batch.column(f"item_{side}").to_numpy().view(np.int64)
                votes[side][part] = _floats(batch.column(f"votes_{side}"))
            winner[part] = batch.column("winner").to_numpy()
            prompt[part] = batch.column("cluster").to_numpy().view(np.int64)
            for name, chunks in names.items():
                chunks.append(batch.column(name))
            at += len(batch)
    raters, (rater,) = _coded([names["rater"]])
    models, (model_0, model_1) = _coded([names["model_0"], names["model_1"]])
    # Hashes are codes already; small ones are quicker to work with.
    _, both = np.unique(np.concatenate(items), return_inverse=True)
    _, cluster = np.unique(prompt, return_inverse=True)
    return Evidence(
        scorers=scorers,
        scores_0=scores[0],
        scores_1=scores[1],
        first=both[:rows],
        second=both[rows:],
        winner=winner,
        votes_0=votes[0],
        votes_1=votes[1],
        rater=rater,
        model_0=model_0,
        model_1=model_1,
        cluster=cluster,
        fold=(prompt.view(np.uint64) % FOLDS).astype(np.int8),
        raters=raters,
        models=models,
    )


def _query(relation: str, scorers: Sequence[str]) -> str:
    scores = [
        f"{duck.identifier(f'{name}.{side}')} AS s{place}_{side}"
        for place, name in enumerate(scorers)
        for side in (0, 1)
    ]
    # Half an MD5 stands for a text: of 20 million items two are the same with a probability of 1 in 90,000.
    items = [f"md5_number_lower(image_{side}_uid || ' ' || prompt_id) AS item_{side}" for side in (0, 1)]
    columns = [
        *scores,
        *items,
        "votes_0::FLOAT AS votes_0",
        "votes_1::FLOAT AS votes_1",
        "coalesce(winner, -1)::TINYINT AS winner",
        "md5_number_lower(coalesce(prompt_cluster, prompt_id)) AS cluster",
        "rater::VARCHAR AS rater",
        "model_0",
        "model_1",
    ]
    return f"SELECT {', '.join(columns)} FROM {relation}"


def _floats(column: pa.Array) -> NDArray[np.float32]:
    """NaN for null, and for what is no finite number."""
    values = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
    found: NDArray[np.float32] = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    return found


def _coded(columns: list[list[Any]]) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Texts in order of their first appearance, and columns of their places, −1 for null."""
    chunks = [chunk for column in columns for chunk in column]
    if not chunks:
        return (), [np.zeros(0, np.int64) for _ in columns]
    whole = pa.chunked_array(chunks, pa.string()).dictionary_encode().unify_dictionaries()
    known = tuple(whole.chunk(0).dictionary.to_pylist()) if whole.num_chunks else ()
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) for chunk in whole.chunks]
    flat, found, at = np.concatenate(codes), [], 0
    for column in columns:
        size = sum(len(chunk) for chunk in column)
        found.append(flat[at : at + size])
        at += size
    return known, found
