"""How long every metric takes over the pairs of a Parquet file in the wide form: `python -m benchmarks.ranking_metrics
[FILE]`. Without a file it makes a million pairs by eight scorers up."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck
from ranking.metrics.frame import Frame
from ranking.metrics.spec import MetricSpec

PAIRS, PROMPTS, SCORERS = 1_000_000, 59_000, 8


def wide(folder: Path, *, pairs: int = PAIRS) -> Path:
    """Pairs in chains, each sharing an image with the one before as in Pick-a-Pic, under prompts of log-normal size;
    the columns of a wide table that metrics read."""
    made = np.random.default_rng(0)
    weight = made.lognormal(0, 1.2, PROMPTS)
    prompt = np.sort(made.choice(PROMPTS, pairs, p=weight / weight.sum()))
    begins = np.concatenate([[True], prompt[1:] != prompt[:-1]])
    older = np.cumsum(begins) - 1 + np.arange(pairs)
    items = int(older[-1]) + 2
    swap = made.random(pairs) < 0.5
    ends = np.where(swap, older + 1, older), np.where(swap, older, older + 1)
    quality = made.normal(size=items)
    tie = made.random(pairs) < 0.11
    winner = (quality[ends[0]] - quality[ends[1]] + made.normal(size=pairs) < 0).astype(np.int8)
    names = pa.array([f"{number * 2654435761 % 2**61:016x}" for number in range(PROMPTS)])
    uids = np.array([f"{number * 7919:08x}-0000-4000-8000-{number:012x}" for number in range(items)])
    model = made.integers(0, 24, items)
    columns: dict[str, Any] = {
        "pair_id": np.array([f"{number:016x}" for number in made.permutation(pairs)]),
        "prompt_id": pa.DictionaryArray.from_arrays(pa.array(prompt.astype(np.int32)), names),
        "winner": pa.array(winner, mask=tie),
        "is_tie": tie,
        "absolute_winner": made.random(pairs) < 0.1,
    }
    for side, end in enumerate(ends):
        columns[f"image_{side}_uid"] = uids[end]
        columns[f"model_{side}"] = pa.array([f"model/{each}" for each in model[end]]).dictionary_encode()
        for name in ("wins", "losses", "ties"):
            columns[f"{name}_{side}"] = made.integers(0, 3, pairs).astype(np.int32)
    for number in range(SCORERS):
        scores = (0.27 + 0.03 * (0.6 * quality + 0.8 * made.normal(size=items))).astype(np.float32)
        columns |= {f"s{number}.{side}": scores[end] for side, end in enumerate(ends)}
    path = folder / "wide.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=65_536)
    return path


def specs() -> list[dict[str, Any]]:
    """Every metric, over one, five or eight scorers."""
    one, five, every = "s0", [f"s{number}" for number in range(5)], [f"s{number}" for number in range(SCORERS)]
    margins = [{"name": "margin", "scorer": name} for name in every]
    return [
        *({"name": "qsd", "scorer": one, "normalize": each} for each in ("raw", "minmax", "sigmoid", "prompt-z")),
        *({"name": name, "scorer": one} for name in ("margin", "winner-score", "curriculum-gap", "smpo-weight")),
        {"name": "random"},
        {"name": "field", "field": "wins_0"},
        {"name": "unanimous", "scorers": every},
        {"name": "vote-fraction", "scorers": every},
        {"name": "mpcf", "aesthetic": "s0", "clip": "s1", "vqa": "s2"},
        {"name": "absolute-winner"},
        {"name": "dual-margin", "external": "s0", "implicit": "s1"},
        {"name": "arena-gap"},
        {"name": "pareto", "scorers": five},
        {"name": "fifa", "scorer": one, "gamma": 0},
        *({"name": name, "of": margins} for name in ("weighted-sum", "product", "rank-fusion")),
    ]


def main(file: str | None = None) -> None:
    """Print seconds by the clock and seconds of processor time for each metric."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(file) if file else wide(Path(folder))
        for spec in specs():
            with duck.connect(2, duck.MEMORY, temp_directory=Path(folder)) as con:
                con.execute(f"CREATE VIEW wide AS FROM {duck.parquet_scan([path])}")
                clock, work = time.perf_counter(), time.process_time()
                frame = Frame(con, "wide")
                value = MetricSpec.model_validate(spec).expression(frame)
                con.execute(f"CREATE TABLE found AS SELECT pair_id, {value} AS metric {frame.source()}")
                took = f"{time.perf_counter() - clock:6.2f} s, {time.process_time() - work:6.2f} s of processors"
            name = " ".join([spec["name"], spec.get("normalize", "")])
            sys.stdout.write(f"{name:24} {took}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:2])
