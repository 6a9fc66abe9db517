"""The numbers of docs/studies/closed-loop.md that no report of a study has: what trainings differ by, over all their
seeds and sizes, and what their last steps say. Reads a store that both examples were run in.

    pairsieve study examples/closed-loop.yaml && pairsieve study examples/closed-loop-guarded.yaml
    python -m scripts.read_closed_loop
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ranking.runs import run_result
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.studies import list_studies, study_result

GRIDS = ("closed-loop-toy", "closed-loop-guarded-toy")
TOP = ("confidence", "qsd")
LAST = ("implicit_accuracy", "winner_change", "loser_change", "logit")


@dataclass(frozen=True)
class Cell:
    """One training: where it stands in the grid, the share of pictures preferred, and means over its last ten steps."""

    guarded: bool
    dataset: str
    method: str
    percent: float
    arm: str
    win: float
    last: dict[str, float]


def read_cells(store: Store) -> list[Cell]:
    """Every training once: `all`, which no budget moves, is the same in three studies."""
    found: dict[str, Cell] = {}
    for study in list_studies(store):
        result = study_result(store, study) if study.name.startswith(GRIDS) else None
        for arm in result["arms"] if result else ():
            method = study.spec["train"]["method"]
            for seed, run in arm["runs"].items():
                found[run] = Cell(
                    guarded=method.get("safeguard") is not None,
                    dataset=study.spec["dataset"],
                    method=method["name"],
                    percent=study.spec["budget"]["percent"],
                    arm=arm["name"],
                    win=arm["judged"]["oracle"]["seeds"][seed],
                    last=_last(store, run),
                )
    return list(found.values())


def welch(first: list[float], second: list[float]) -> str:
    """The difference of means in points, with Welch's 95 % interval."""
    ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    return f"{100 * (np.mean(first) - np.mean(second)):+.0f} [{100 * ends.low:+.0f}, {100 * ends.high:+.0f}]"


def within(cells: list[Cell], stratum: Callable[[Cell], Any]) -> tuple[float, float]:
    """The rank correlation of winners' error with pictures preferred within strata, and how often as low a one comes of
    4000 permutations within them."""
    groups = defaultdict(list)
    for cell in cells:
        groups[stratum(cell)].append((cell.last["winner_change"], cell.win))
    ranks = [stats.rankdata(np.array(group), axis=0) / len(group) for group in groups.values()]
    ranks = [each - each.mean(0) for each in ranks]
    error = np.concatenate([each[:, 0] for each in ranks])
    rng = np.random.default_rng(0)

    def correlation(wins: list[Any]) -> float:
        return float(np.corrcoef(error, np.concatenate(wins))[0, 1])

    seen = correlation([each[:, 1] for each in ranks])
    tossed = [correlation([rng.permutation(each[:, 1]) for each in ranks]) for _ in range(4000)]
    return seen, float(np.mean(np.array(tossed) <= seen))


def main() -> None:
    """Print all of it."""
    cells = read_cells(Store.open(load_settings().store))

    def of(*arms: str, **where: Any) -> list[Cell]:
        kept = [cell for cell in cells if cell.arm in arms]
        return [cell for cell in kept if all(getattr(cell, key) == value for key, value in where.items())]

    def wins(*arms: str, **where: Any) -> list[float]:
        return [cell.win for cell in of(*arms, **where)]

    say = sys.stdout.write
    for guarded, method in ((False, "dpo"), (False, "rpo"), (False, "sft"), (True, "dpo")):
        for dataset in sorted({cell.dataset for cell in cells}):
            at = {"guarded": guarded, "method": method, "dataset": dataset}
            told = welch(wins("confidence", **at), wins("random", **at))
            say(f"{dataset} {method}{' guarded' if guarded else ''}: confidence - random {told}\n")
    for dataset in sorted({cell.dataset for cell in cells}):
        for arms in (TOP, ("random",), ("all",)):
            pair = [wins(*arms, guarded=guarded, method="dpo", dataset=dataset) for guarded in (True, False)]
            say(f"{dataset} {'+'.join(arms)}: what the guard brings {welch(*pair)}\n")
    for guarded in (False, True):
        for arm in (*TOP, "random", "all"):
            where: dict[str, Any] = {} if arm == "all" else {"percent": 5.33}
            found = of(arm, guarded=guarded, method="dpo", dataset="toy0", **where)
            means = ", ".join(f"{name} {np.mean([cell.last[name] for cell in found]):+.3f}" for name in LAST)
            say(f"toy0 dpo 5.33 %{' guarded' if guarded else ''} {arm}: {means}\n")
    for method in ("dpo", "rpo"):
        top = of(*TOP, guarded=False, method=method)
        for name, stratum in (
            ("dataset", lambda cell: cell.dataset),
            ("dataset and k", lambda cell: (cell.dataset, cell.percent)),
            ("cell", lambda cell: (cell.dataset, cell.percent, cell.arm)),
        ):
            seen, chance = within(top, stratum)
            say(f"{method}, {len(top)} trainings on the top, within {name}: {seen:+.2f} (p {chance:.3f})\n")


def _last(store: Store, run: str) -> dict[str, float]:
    text = store.get(f"{run_result(store, run)['output']}/metrics.jsonl").decode()
    records = [json.loads(line) for line in text.splitlines()][-10:]
    return {name: float(np.mean([np.nan if each[name] is None else each[name] for each in records])) for name in LAST}


if __name__ == "__main__":
    main()
