"""Writes report.html: one file with its pictures inside, that shows what the demo did and what came of it."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ranking import duck
from ranking.datasets import get_dataset
from ranking.features.wide import wide_table
from ranking.images import Found, ImageError, ImageReader, decode_rgb
from ranking.store.blobs import Store
from service.demo.rules import SHARES, rule_accuracies
from service.demo.run import QUALITY, SCORERS, Outcome, Trained
from service.demo.svg import curves, histogram
from service.demo.truth import label_verdicts

GRID_PROMPTS = 10
SHOWN_PAIRS = 6


def write_report(outcome: Outcome, dataset: str) -> None:
    """Render the report beside the store. It overwrites an older one."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("service.demo", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    page = environment.get_template("report.html.j2").render(
        outcome=outcome,
        quality=QUALITY,
        grid=_grid(outcome),
        rules=rule_accuracies(outcome.store, outcome.snapshot, dataset, truth=outcome.truth, seed=outcome.options.seed),
        shares=SHARES,
        histograms=_histograms(outcome, dataset),
        best=_pairs(outcome, dataset, best=True),
        worst=_pairs(outcome, dataset, best=False),
        losses=curves(
            [(trained.title, _smoothed(outcome.store, trained)) for trained in (outcome.control, outcome.best)],
            title="Diffusion-DPO loss, mean of 20 steps",
            level=float(np.log(2)),
            level_name="ln 2, where it starts",
        ),
        first_loss=_losses(outcome.store, outcome.best)[0],
    )
    outcome.report.write_text(page, encoding="utf-8")


def _grid(outcome: Outcome) -> list[dict[str, Any]]:
    """Rows of one held-out prompt each: the same seeds by base, control and best."""
    from training.evaluation.samples import read_samples

    evaluations = [outcome.control.evaluation, outcome.best.evaluation]
    base = read_samples(outcome.store, evaluations[1].base_samples)
    runs = [read_samples(outcome.store, evaluation.run_samples) for evaluation in evaluations]
    first = {prompt: index for index, prompt in reversed(list(enumerate(base.prompts)))}
    prompts = list(first)
    step = max(1, len(prompts) // GRID_PROMPTS)
    rows = []
    for prompt in prompts[::step][:GRID_PROMPTS]:
        seeds = [first[prompt], first[prompt] + 1]
        shown = [i for i in seeds if i < len(base.images) and base.prompts[i] == prompt]
        rows.append(
            {
                "prompt": prompt,
                "columns": [[_inline(samples.images[i]) for i in shown] for samples in (base, *runs)],
            }
        )
    return rows


def _histograms(outcome: Outcome, dataset: str) -> list[str]:
    path = wide_table(outcome.store, outcome.snapshot, dataset)
    drawn = []
    with duck.connect() as con:
        chosen = duck.parquet_scan([outcome.store.local(outcome.best.subset.pairs_key)])
        for scorer in SCORERS:
            gap = duck.identifier(f"{scorer}.gap")
            table = duck.arrow(
                con,
                f"SELECT {gap} AS gap, pair_id IN (SELECT pair_id FROM {chosen}) AS taken "
                f"FROM {duck.parquet_scan([path])} WHERE {gap} IS NOT NULL",
            )
            gaps, taken = table["gap"].to_numpy(), table["taken"].to_numpy(zero_copy_only=False)
            drawn.append(histogram(gaps, gaps[taken], title=scorer, unit="winner − loser"))
    return drawn


def _pairs(outcome: Outcome, dataset: str, *, best: bool) -> list[dict[str, Any]]:
    """The top or bottom of the ranking, with both images and their scores."""
    from ranking.subsets.recipe import parse_recipe
    from ranking.subsets.select import rank

    recipe = parse_recipe(outcome.best.subset.recipe)
    ranked = rank(outcome.store, outcome.snapshot, recipe)
    rows = (ranked.slice(0, SHOWN_PAIRS) if best else ranked.slice(max(0, len(ranked) - SHOWN_PAIRS))).to_pylist()
    path = wide_table(outcome.store, outcome.snapshot, dataset)
    with duck.connect() as con:
        ids = ", ".join(duck.literal(row["pair_id"]) for row in rows)
        wide = {
            row["pair_id"]: row
            for row in duck.arrow(
                con, f"SELECT * FROM {duck.parquet_scan([path])} WHERE pair_id IN ({ids})"
            ).to_pylist()
        }
    reader = ImageReader(outcome.store, get_dataset(outcome.store, dataset))
    data = reader.read(uid for row in rows for uid in (row["winner_uid"], row["loser_uid"]))
    shown = []
    rows = rows if best else rows[::-1]
    verdicts = label_verdicts(outcome.truth, [(row["winner_uid"], row["loser_uid"]) for row in rows])
    for row, verdict in zip(rows, verdicts, strict=True):
        pair = wide[row["pair_id"]]
        won = 0 if pair["image_0_uid"] == row["winner_uid"] else 1
        shown.append(
            {
                "rank": row["rank"],
                "metric": row["metric"],
                "prompt": row["prompt"],
                "id": row["pair_id"],
                "truth": verdict,
                "winner": _picture(data.get(row["winner_uid"])),
                "loser": _picture(data.get(row["loser_uid"])),
                "models": [pair[f"model_{won}"], pair[f"model_{1 - won}"]],
                "scores": [(s, pair[f"{s}.{won}"], pair[f"{s}.{1 - won}"]) for s in SCORERS],
            }
        )
    return shown


def _losses(store: Store, trained: Trained) -> list[float]:
    lines = store.get(f"{trained.output}/metrics.jsonl").decode().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def _smoothed(store: Store, trained: Trained, window: int = 20) -> list[float]:
    losses = np.array(_losses(store, trained))
    window = min(window, len(losses))
    return [float(value) for value in np.convolve(losses, np.ones(window) / window, mode="valid")]


def _picture(data: Found) -> str | None:
    try:
        return _inline(decode_rgb(data))
    except ImageError:
        return None


def _inline(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
