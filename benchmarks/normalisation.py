"""What the normalisation of ψ makes of the metric qsd, on a made-up population: `python -m benchmarks.normalisation`
prints the table of docs/metrics.md."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa

from ranking import duck
from ranking.metrics.base import NORMALIZE
from ranking.metrics.frame import Frame
from ranking.metrics.spec import MetricSpec

PROMPTS, IMAGES, SHARE = 10_000, 5, 0.0533


def population(seed: int = 0) -> pa.Table:
    """The pairs of 10,000 prompts with five images each, every two of them compared. A score is 0.27, plus N(0, 0.02²)
    for the prompt, plus N(0, 0.02²) for the image, like HPSv2's cosines; the label follows the image's part of it with
    logistic noise that leaves the scorer right in about 60 % of pairs. No tie."""
    made = np.random.default_rng(seed)
    of_prompt, of_image = made.normal(0, 0.02, PROMPTS), made.normal(0, 0.02, (PROMPTS, IMAGES))
    scores = (0.27 + of_prompt[:, None] + of_image).astype(np.float32)
    first, second = (side.ravel() for side in np.triu_indices(IMAGES, 1))
    prompts = np.repeat(np.arange(PROMPTS), len(first))
    first, second = np.tile(first, PROMPTS), np.tile(second, PROMPTS)
    apart = of_image[prompts, first] - of_image[prompts, second]
    lost = apart + made.logistic(0, 0.04, len(apart)) < 0
    return pa.table(
        {
            "pair_id": np.char.zfill(np.arange(len(prompts)).astype(str), 8),
            "prompt_id": prompts.astype(str),
            "image_0_uid": first.astype(str),
            "image_1_uid": second.astype(str),
            "winner": lost.astype(np.int8),
            "s.0": scores[prompts, first],
            "s.1": scores[prompts, second],
        }
    )


def measured() -> list[list[str]]:
    """One row for each normalisation: correlations of qsd, and what its best 5.33 % are."""
    with duck.connect(2) as con:
        con.register("pairs_given", population())
        con.execute("CREATE TABLE wide AS FROM pairs_given")
        frame = Frame(con, "wide")
        specs = {name: {"name": "qsd", "scorer": "s", "normalize": name} for name in NORMALIZE}
        specs |= {"winner": {"name": "winner-score", "scorer": "s"}, "margin": {"name": "margin", "scorer": "s"}}
        values = {name: MetricSpec.model_validate(spec).expression(frame) for name, spec in specs.items()}
        columns = ", ".join(f'{value} AS "{name}"' for name, value in values.items())
        mean = "avg(s) OVER (PARTITION BY prompt_id) AS prompt"
        found = con.sql(
            f'SELECT *, {mean} FROM (SELECT pair_id, prompt_id, {columns}, ("s.0" + "s.1") / 2 AS s {frame.source()}) '
            "ORDER BY pair_id"
        ).fetchnumpy()
    best = {name: np.argsort(-found[name], kind="stable")[: round(SHARE * len(found["margin"]))] for name in values}
    rows = []
    for name in NORMALIZE:
        of = [f"{np.corrcoef(found[name], found[other])[0, 1]:.2f}" for other in ("winner", "margin", "prompt")]
        shared = len(np.intersect1d(best[name], best["margin"])) / len(best[name])
        agree = (found["margin"][best[name]] > 0).mean()
        prompts = len(np.unique(found["prompt_id"][best[name]]))
        rows.append([name, *of, f"{shared:.0%}", f"{agree:.1%}", f"{prompts:,}"])
    return rows


if __name__ == "__main__":
    for row in measured():
        sys.stdout.write(f"| {' | '.join(row)} |\n")
