"""Makes metadata in the Pick-a-Pic schema at any size: sessions of chained pairs, 11 % ties, prompts that people
edited. Measures nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from ranking import duck

PAIRS_PER_PROMPT = 17  # v2 has 58,960 prompts among about a million pairs
_WORDS = 4_000
_EDITED = 0.15
_TIES = 0.1123
_REPEATED = 0.02

_QUERY = """
COPY (
    SELECT
        label_0 <> 0.5 AS are_different,
        prompts.prompt AS caption,
        (TIMESTAMP '2023-01-01' + to_microseconds(pair * 7_000_000))::TIMESTAMP_NS AS created_at,
        true AS has_label,
        uuid_of(image_0) AS image_0_uid,
        uuid_of(image_1) AS image_1_uid,
        label_0, 1 - label_0 AS label_1,
        'stabilityai/model-' || model_0 AS model_0,
        'stabilityai/model-' || model_1 AS model_1,
        pair AS ranking_id, user AS user_id
    FROM pairs JOIN prompts USING (prompt_no) ORDER BY pair
) TO {path} (FORMAT parquet, ROW_GROUP_SIZE 100_000)
"""


def write_pairs(path: Path, size: int, *, seed: int = 0) -> Path:
    """Write `size` judgements of about size / 17 prompts to a Parquet file without images."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(np.minimum(rng.geometric(1 / 6, size), 60))
    starts = np.concatenate([[0], starts[starts < size]])
    session = np.searchsorted(starts, np.arange(size), side="right") - 1
    n_prompts = max(1, size // PAIRS_PER_PROMPT)
    # Heavy-tailed: a few prompts are judged in many sessions.
    prompt = np.minimum((rng.pareto(1.2, len(starts)) * n_prompts / 6).astype(np.int64), n_prompts - 1)
    user = rng.integers(0, max(1, size // 160), len(starts))

    # Each row shows a new picture beside the session's champion; the winner stays.
    outcome = rng.choice(3, size, p=[(1 - _TIES) / 2, (1 - _TIES) / 2, _TIES])  # 0 champion, 1 new picture, 2 tie
    row = np.arange(size)
    last_win = np.maximum.accumulate(np.where(outcome == 1, row, -1))
    before = np.concatenate([[-1], last_win[:-1]])
    champion = np.where(before >= starts[session], before, size + session)
    swapped = rng.random(size) < 0.5
    first_wins = (outcome == 0) != swapped
    label = np.where(outcome == 2, 0.5, first_wins.astype(float))
    models = rng.integers(0, 8, 2 * size)
    image_0, image_1 = np.where(swapped, row, champion), np.where(swapped, champion, row)
    # Some rows are another rater's verdict on a pair that was judged before.
    again = np.flatnonzero(rng.random(size) < _REPEATED)[1:]
    asked = rng.integers(0, again)
    prompt, user = prompt[session], user[session]
    for values in (image_0, image_1, prompt):
        values[again] = values[asked]
    user[again] = rng.integers(0, max(1, size // 160), len(again))
    table = pa.table(
        {
            "pair": row,
            "prompt_no": prompt,
            "user": user,
            "image_0": image_0,
            "image_1": image_1,
            "label_0": label,
            "model_0": models[image_0],
            "model_1": models[image_1],
        }
    )
    with duck.connect(temp_directory=path.parent / "generator.spill") as con:
        con.register("pairs", table)
        con.register("prompts", _prompts(rng, n_prompts))
        con.execute("CREATE MACRO uuid_of(n) AS md5(n::VARCHAR)::UUID::VARCHAR")
        con.execute(_QUERY.format(path=duck.literal(str(path))))
    return path


def _prompts(rng: np.random.Generator, count: int) -> pa.Table:
    """Prompts of about seventy characters; every seventh is another one with a word changed."""
    syllables = np.array(["ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu"])
    words = np.array(["".join(rng.choice(syllables, 3)) for _ in range(_WORDS)])
    chosen = rng.integers(0, _WORDS, (count, 11))
    edited = np.flatnonzero(rng.random(count) < _EDITED)
    edited = edited[edited > 0]
    chosen[edited] = chosen[rng.integers(0, edited)]
    chosen[edited, rng.integers(0, 11, len(edited))] = rng.integers(0, _WORDS, len(edited))
    text = words[chosen[:, 0]].astype(object)
    for column in range(1, 11):
        text = text + " " + words[chosen[:, column]]
    return pa.table({"prompt_no": np.arange(count), "prompt": pa.array(text, pa.string())})
