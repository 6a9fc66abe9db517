"""A style study: the same style-preference pairs, several methods and seeds, equal steps, and how near each comes to
the style. Every part that the store has already is taken from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ranking.errors import PairsieveError
from ranking.ingest import ingest
from ranking.runs import plan_run, run_result
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.blocks import TOYWORLD, EvaluationConfig
from training.progress import Progress, silent
from training.style.measure import MEASURES, Measured, measure
from training.style.sets import DATA, RECORD, StyleSet, dataset_couples, read_style_set, write_style_set
from training.style.spec import StyleArm, StyleStudySpec
from training.style.transforms import style
from training.trainer import train

_TOYWORLD_PAIRS = 1600
_DIGITS = 6


def run_style_study(
    store: Store, spec: StyleStudySpec, folder: Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """The result as plain JSON, of runs in `store`; `folder` keeps the style set. Cells that are done are not trained
    again.

        {"study": the spec, "set": the style set's record, "features", "texture", "references", "pictures",
         "fixed": {"references" | "originals" | "vae" | "base": {measure: {"value", "low", "high"}}},
         "arms": [{"name", "method", "after", "labels", "runs": {seed: run}, "seconds": mean training time,
                   "measures": {measure: {"value", "low", "high", "change", "change_low", "change_high",
                                          "seeds": {seed: value}}}}]}

    `value` is the mean over seeds. Its ends are the means of the seeds' own ends: seeds share their prompts, so that
    averaging them does not make an interval over prompts narrower.
    """
    tell = progress or silent
    made = _style_set(store, spec, folder)
    dataset = f"{spec.name}-pairs"
    ingest(store, folder / "set" / DATA, dataset)
    snapshot = create_snapshot(store)
    subsets: dict[str, Subset] = {}
    for labels in sorted({arm.labels for arm in spec.arms}):
        recipe = {"name": f"{spec.name}.{labels}", "dataset": dataset, "metric": {"name": "random"}, "labels": labels}
        subsets[labels] = create_subset(store, parse_recipe(recipe | {"take": {"percent": 100.0}}), snapshot)
    runs: dict[tuple[str, int], str] = {}
    cells = [(arm, seed) for seed in spec.seeds for arm in spec.arms]
    for number, (arm, seed) in enumerate(cells):
        tell("cells", number, len(cells))
        runs[arm.name, seed] = _cell(store, spec, arm, seed, subsets[arm.labels], runs, tell)
    tell("cells", len(cells), len(cells))
    drawn = spec.measure
    report = measure(
        store,
        list(runs.values()),
        folder / "set",
        base=spec.config(spec.arms[0], spec.seeds[0]).model,
        settings=EvaluationConfig(
            images_per_prompt=drawn.images_per_prompt,
            inference_steps=drawn.inference_steps,
            guidance=drawn.guidance,
            seed=drawn.seed,
        ),
        features=drawn.features,
        texture=drawn.texture,
        progress=tell,
    )
    rows = {row.name: row for row in report.rows}
    return {
        "study": spec.model_dump(mode="json"),
        "set": asdict(made),
        "features": report.features,
        "texture": report.texture,
        "references": report.references,
        "pictures": rows["base"].pictures,
        "fixed": {
            name: {each: _plain(asdict(found)) for each, found in rows[name].values.items()}
            for name in ("references", "originals", "vae", "base")
        },
        "arms": [_arm(store, spec, arm, runs, rows) for arm in spec.arms],
    }


def _style_set(store: Store, spec: StyleStudySpec, folder: Path) -> StyleSet:
    if (folder / "set" / RECORD).is_file():
        return read_style_set(folder / "set")
    source = spec.dataset
    if source == TOYWORLD:
        from training.toyworld.dataset import write_dataset

        source = f"{spec.name}-toyworld"
        if not (folder / "toyworld").exists():
            write_dataset(folder / "toyworld", pairs=_TOYWORLD_PAIRS, noise=0.0, seed=0)
        ingest(store, folder / "toyworld" / "data", source)
    paint = style(spec.style)
    return write_style_set(
        folder / "set",
        dataset_couples(store, source, paint, pictures=spec.pictures),
        style=paint.id,
        text="" if spec.dataset == TOYWORLD else paint.text,  # its CLIP knows thirteen words, and none of a style
        source=source,
        held_out=spec.held_out,
    )


def _cell(
    store: Store,
    spec: StyleStudySpec,
    arm: StyleArm,
    seed: int,
    subset: Subset,
    runs: dict[tuple[str, int], str],
    tell: Progress,
) -> str:
    start = None
    if arm.after is not None:
        start = store.local_folder(run_result(store, runs[arm.after, seed])["output"])
        if not (start / "model_index.json").is_file():
            raise PairsieveError(
                f"arm {arm.after} saved no pipeline that {arm.name} could start from",
                code="no-pipeline",
                hint="set save: {pipeline: true} in train",
            )
    config = spec.config(arm, seed, model=None if start is None else str(start))
    run = plan_run(store, subset.ref, config.model_dump(mode="json"))
    train(store, run.run_id, progress=tell)
    return run.run_id


def _arm(
    store: Store,
    spec: StyleStudySpec,
    arm: StyleArm,
    runs: dict[tuple[str, int], str],
    rows: dict[str, Measured],
) -> dict[str, Any]:
    mine = {seed: runs[arm.name, seed] for seed in spec.seeds}
    found = {seed: rows[run] for seed, run in mine.items()}
    seconds = [run_result(store, run)["seconds"] for run in mine.values()]
    return {
        "name": arm.name,
        "method": spec.config(arm, spec.seeds[0]).method.name,
        "after": arm.after,
        "labels": arm.labels,
        "runs": {str(seed): run for seed, run in mine.items()},
        "seconds": round(float(np.mean(seconds)), 1),
        "measures": {
            each: _over_seeds(each, list(found.values())) | {"seeds": _by_seed(each, found)}
            for each in MEASURES
            if each in rows["base"].values
        },
    }


def _over_seeds(measure_name: str, rows: Sequence[Measured]) -> dict[str, float]:
    values = [row.values[measure_name] for row in rows]
    changes = [row.change[measure_name] for row in rows if row.change is not None]
    ends = {end: float(np.mean([getattr(each, end) for each in values])) for end in ("value", "low", "high")}
    ends["change"] = float(np.mean([each.value for each in changes]))
    ends |= {f"change_{end}": float(np.mean([getattr(each, end) for each in changes])) for end in ("low", "high")}
    return _plain(ends)


def _by_seed(measure_name: str, found: dict[int, Measured]) -> dict[str, float]:
    return {str(seed): _rounded(row.values[measure_name].value) for seed, row in found.items()}


def _plain(values: dict[str, float]) -> dict[str, float]:
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
