"""The result of a study as plain JSON: one row per arm, with a value, an interval and a paired difference per judge.
Draws and prints nothing.

    {"study": {"name", "id", "dataset", "snapshot", "budget", "seeds", "train"?, "resamples"},
     "judges": [{"name", "meaning", "of", "form"}],
     "arms": [{"name", "role", "recipe", "pairs": {seed: n}, "subsets": {seed: ref}, "runs": {seed: run},
               "notes": [text],
               "judged": {judge: {"value", "low", "high", "seeds": {seed: value}, "circular",
                                  "over_random": {"value", "low", "high"} | null}}}]}

A number is null where nothing could be counted.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ranking.studies import Cell, Study
from training.drawing import with_minus
from training.intervals import Estimate
from training.study.arms import circular
from training.study.statistics import RESAMPLES, Compared, compare
from training.study.tallies import Tally

_DIGITS = 9


def make_result(
    study: Study, cells: Sequence[Cell], tallies: Mapping[tuple[str, int], Mapping[str, Tally]]
) -> dict[str, Any]:
    """The result of a study whose cells are all filled."""
    baseline = next((arm["name"] for arm in study.arms if arm["role"] == "random"), None)
    judged = {
        judge["name"]: compare(
            {cell: found[judge["name"]] for cell, found in tallies.items()}, how=judge["reduce"], baseline=baseline
        )
        for judge in study.judges
    }
    kept = ("name", "meaning", "of", "form")
    return {
        "study": {
            "name": study.name,
            "id": study.id,
            "dataset": study.spec["dataset"],
            "snapshot": asdict(study.snapshot),
            "budget": study.spec["budget"],
            "seeds": study.spec["seeds"],
            "resamples": RESAMPLES,
            **({"train": study.spec["train"]} if "train" in study.spec else {}),
        },
        "judges": [{key: judge[key] for key in kept} for judge in study.judges],
        "arms": [_arm(study, arm, cells, judged) for arm in study.arms],
    }


def to_csv(result: dict[str, Any]) -> str:
    """One line per arm and judge."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    over = ("over_random", "over_random_low", "over_random_high")
    writer.writerow(
        ["arm", "role", "pairs", "judge", "value", "low", "high", *over, "seeds_low", "seeds_high", "circular"]
    )
    for arm in result["arms"]:
        for judge, found in arm["judged"].items():
            more = found["over_random"] or {}
            seeds = [value for value in found["seeds"].values() if value is not None]
            spread = [min(seeds), max(seeds)] if seeds else [None, None]
            writer.writerow(
                [
                    *(arm["name"], arm["role"], pairs_taken(arm), judge),
                    *(found[key] for key in ("value", "low", "high")),
                    *(more.get(key) for key in ("value", "low", "high")),
                    *spread,
                    "yes" if found["circular"] else "no",
                ]
            )
    return out.getvalue()


def pairs_taken(arm: dict[str, Any]) -> int:
    """How many pairs an arm takes, with its first seed."""
    return int(next(iter(arm["pairs"].values())))


def shown(value: float | None, form: str, *, signed: bool = False) -> str:
    """A share in percent, a count with one decimal, another number with three; a dash for none."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    digits = {"share": ".1f", "count": ",.1f"}.get(form, ".3f")
    return with_minus(f"{100 * value if form == 'share' else value:{sign}{digits}}")


def _arm(
    study: Study, arm: dict[str, Any], cells: Sequence[Cell], judged: Mapping[str, Mapping[str, Compared]]
) -> dict[str, Any]:
    mine = [cell for cell in cells if cell.arm == arm["name"]]
    return {
        "name": arm["name"],
        "role": arm["role"],
        "recipe": arm["recipe"],
        "pairs": {str(cell.seed): cell.pairs for cell in mine},
        "subsets": {str(cell.seed): cell.subset for cell in mine},
        "runs": {str(cell.seed): cell.run for cell in mine if cell.run},
        "notes": _notes(study, arm, mine),
        "judged": {
            judge["name"]: _found(judged[judge["name"]][arm["name"]])
            | {"circular": circular(judge["scorers"], judge["fields"], arm)}
            for judge in study.judges
        },
    }


def _notes(study: Study, arm: dict[str, Any], cells: Sequence[Cell]) -> list[str]:
    """What makes an arm another size than the budget."""
    sizes = {each["recipe"]["take"].get("count") for each in study.arms if each["role"] == "random"}
    wanted = arm["recipe"]["take"].get("count")
    fewest = min(cell.pairs for cell in cells)
    if wanted is not None and fewest < wanted:
        return [f"only {fewest:,} of {wanted:,} pairs are there to take"]
    if arm["role"] != "all" and sizes and wanted not in sizes:
        return ["of another size than the others"]
    return []


def _found(compared: Compared) -> dict[str, Any]:
    over = compared.over_random
    return {
        **_plain(compared.mean),
        "seeds": {str(seed): _number(value) for seed, value in compared.seeds.items()},
        "over_random": _plain(over) if over is not None else None,
    }


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {key: _number(value) for key, value in asdict(estimate).items()}


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
