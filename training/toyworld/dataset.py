"""Writes Toyworld preference pairs as Pick-a-Pic v2 Parquet, and the truth about them in a file beside it.

The layout copies the web app's: a session shows two pictures of one prompt, the winner stays and the loser is
replaced, so pictures recur in chains; a tie keeps either.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ranking.subsets.export.tables import PICKAPIC
from training.toyworld import oracle
from training.toyworld.raters import Answer, NoiseKind, answer_pair, hire_raters
from training.toyworld.world import GENERATORS, Floats, Pictures, Scene, render, train_scenes

ROWS_PER_FILE = 2000
ROW_GROUP = 250
_START = datetime(2026, 1, 1, tzinfo=UTC)

TRUTH_SCHEMA = pa.schema(
    [
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("ranking_id", pa.int64()),
        ("true_label_0", pa.float32()),
        ("utility_0", pa.float32()),
        ("utility_1", pa.float32()),
        ("flipped", pa.bool_()),
        ("flip_rate", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Written:
    """What `write_dataset` made: the folder of Parquet files, the truth file, counts and true label accuracy."""

    data: Path
    truth: Path
    pairs: int
    images: int
    ties: int
    label_accuracy: float


def write_dataset(
    folder: Path,
    *,
    pairs: int = 3600,
    noise: float = 0.25,
    noise_kind: NoiseKind = "mixed",
    raters: int = 40,
    seed: int = 0,
    pixels: int = 64,
) -> Written:
    """Write `folder/data/*.parquet` (Pick-a-Pic v2) and `folder/truth.parquet`.

    `noise` is the share of labels that say the opposite of what the rater saw, in [0, 0.5], `noise_kind` where they
    are (`raters.NoiseKind`); `pixels` the side of the pictures. The truth has for each pair both utilities, whom the
    oracle prefers, whether the label was flipped and how likely that was. Label accuracy is measured on pairs that
    neither the oracle nor the rater calls a tie.
    """
    rng = np.random.default_rng(seed)
    sessions = _plan_sessions(pairs, rng)
    scenes, jpegs, generators, uids = _draw(sessions, rng, pixels)
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in jpegs])
    utility = oracle.judge(decoded, [scene.prompt for scene in scenes]).utility
    neighbours = np.concatenate([np.diff(utility[first : first + count]) for first, count in sessions])
    crew = hire_raters(raters, noise=noise, seed=seed, kind=noise_kind, gaps=neighbours)

    rows, truth, answers = [], [], []
    for number, (first, count) in enumerate(sessions):
        rater = int(rng.integers(0, raters))
        sides = [first, first + 1]
        for step in range(count - 1):
            answer = answer_pair(crew, rater, float(utility[sides[0]] - utility[sides[1]]), rng)
            answers.append(answer)
            label = answer.label
            index = len(rows)
            a, b = sides
            rows.append(
                {
                    "are_different": True,
                    "best_image_uid": {1.0: uids[a], 0.0: uids[b], 0.5: "tie"}[label],
                    "caption": scenes[first].prompt,
                    "created_at": _START + timedelta(minutes=3 * number, seconds=20 * step),
                    "has_label": True,
                    "image_0_uid": uids[a],
                    "image_0_url": f"toyworld://{uids[a]}.jpg",
                    "image_1_uid": uids[b],
                    "image_1_url": f"toyworld://{uids[b]}.jpg",
                    "jpg_0": jpegs[a],
                    "jpg_1": jpegs[b],
                    "label_0": label,
                    "label_1": 1 - label,
                    "model_0": generators[a],
                    "model_1": generators[b],
                    "ranking_id": index,
                    "user_id": 1000 + rater,
                    "__index_level_0__": index,
                }
            )
            truth.append((a, b, index))
            if step + 2 < count:
                loser = 1 if label == 1.0 or (label == 0.5 and rng.random() < 0.5) else 0
                sides[loser] = first + step + 2
    return _write(folder, rows, truth, answers=answers, uids=uids, utility=utility)


def _plan_sessions(pairs: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(first picture, pictures) of each session; a session of m pictures makes m − 1 pairs."""
    sessions, picture, left = [], 0, pairs
    while left:
        length = min(left, int(rng.geometric(0.35)))
        sessions.append((picture, length + 1))
        picture, left = picture + length + 1, left - length
    return sessions


def _draw(
    sessions: list[tuple[int, int]], rng: np.random.Generator, pixels: int
) -> tuple[list[Scene], list[bytes], list[str], list[str]]:
    """Every picture of every session: its scene, JPEG bytes, generator name and uid."""
    world = train_scenes()
    scenes: list[Scene] = []
    for _, count in sessions:
        scenes += [world[int(rng.integers(0, len(world)))]] * count
    which = rng.integers(0, len(GENERATORS), len(scenes))
    quality = rng.choice([55, 75, 90, 95], len(scenes), p=[0.15, 0.2, 0.35, 0.3])
    jpegs: list[bytes] = [b""] * len(scenes)
    for code, generator in enumerate(GENERATORS):
        mine = np.flatnonzero(which == code)
        pictures: Pictures = generator.draw([scenes[i] for i in mine], rng)
        for index, image in zip(mine, render(pictures, pixels), strict=True):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=int(quality[index]))
            jpegs[index] = buffer.getvalue()
    uids = [rng.bytes(16).hex() for _ in scenes]
    return scenes, jpegs, [GENERATORS[code].name for code in which], uids


def _write(
    folder: Path,
    rows: list[dict],
    truth: list[tuple[int, int, int]],
    *,
    answers: list[Answer],
    uids: list[str],
    utility: Floats,
) -> Written:
    per_prompt: dict[str, int] = {}
    for row in rows:
        per_prompt[row["caption"]] = per_prompt.get(row["caption"], 0) + 1
    for row in rows:
        row["num_example_per_prompt"] = per_prompt[row["caption"]]
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    files = max(1, -(-len(rows) // ROWS_PER_FILE))
    for number in range(files):
        part = rows[number * ROWS_PER_FILE : (number + 1) * ROWS_PER_FILE]
        table = pa.Table.from_pylist(part, schema=PICKAPIC)
        pq.write_table(table, data / f"train-{number:05d}-of-{files:05d}.parquet", row_group_size=ROW_GROUP)

    first, second, ids = (np.array(column) for column in zip(*truth, strict=True))
    label = oracle.prefers(utility[first], utility[second])
    given = np.array([row["label_0"] for row in rows], np.float32)
    columns = [
        pa.array([uids[i] for i in first]),
        pa.array([uids[i] for i in second]),
        pa.array(ids, pa.int64()),
        pa.array(label, pa.float32()),
        pa.array(utility[first], pa.float32()),
        pa.array(utility[second], pa.float32()),
        pa.array([answer.flipped for answer in answers]),
        pa.array([answer.flip_rate for answer in answers], pa.float32()),
    ]
    pq.write_table(pa.table(columns, schema=TRUTH_SCHEMA), folder / "truth.parquet")
    decided = (label != 0.5) & (given != 0.5)
    return Written(
        data=data,
        truth=folder / "truth.parquet",
        pairs=len(rows),
        images=len({uids[i] for i in np.concatenate([first, second])}),
        ties=int((given == 0.5).sum()),
        label_accuracy=float((label == given)[decided].mean()) if decided.any() else float("nan"),
    )
