"""Label confidence: how well it finds wrong labels, beside single scorers, votes and cleanlab, and what it costs.

    python -m benchmarks.confidence toyworld [--seeds 10,11,12] [--pairs 3600] [--out FILE]
    python -m benchmarks.confidence made-up [--seeds 10,11,12] [--pairs 20000] [--out FILE]
    python -m benchmarks.confidence speed [--pairs 1000000]

Seeds 0 to 4 were looked at while the method was made; the published tables are of others.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.population import population
from benchmarks.rivals import rivals
from ranking.confidence.evidence import Evidence
from ranking.confidence.judge import judge
from service.console import say

NOISE = (0.05, 0.15, 0.3)
KINDS = ("uniform", "raters", "hard")
Floats = NDArray[np.float64]


def measures(evidence: Evidence, wrong: NDArray[np.bool_], decided: NDArray[np.bool_]) -> dict[str, Any]:
    """AUROC and average precision of ours and of every rival at finding `wrong` labels among the `decided` ones, and
    our expected calibration error over ten bins."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    judged = judge(evidence)
    target = wrong[decided]
    scores = {"ours": judged.confidence} | rivals(evidence)
    found = {
        name: [
            float(roc_auc_score(target, -values[decided])),
            float(average_precision_score(target, -values[decided])),
        ]
        for name, values in scores.items()
    }
    said, right = judged.confidence[decided], ~target
    bins = np.minimum((said * 10).astype(int), 9)
    gaps = [abs(right[bins == b].mean() - said[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return {
        "pairs": int(decided.sum()),
        "wrong": float(target.mean()),
        "said_wrong": float(1 - said.mean()),
        "ece": float(sum(gaps)),
        "measures": found,
    }


def toyworld(seeds: list[int], pairs: int) -> Iterator[dict[str, Any]]:
    """Rendered pairs, real tiny scorers and worse ones made of them, through ingest and the wide table."""
    from benchmarks.toy_pairs import Pictures, toy_pairs
    from ranking.confidence.reading import read_evidence
    from training.toyworld.raters import NoiseKind

    assert set(KINDS) < set(get_args(NoiseKind))
    for seed in seeds:
        pictures = Pictures()
        for kind in KINDS:
            for noise in NOISE:
                with tempfile.TemporaryDirectory() as folder:
                    made = toy_pairs(Path(folder), pairs=pairs, noise=noise, kind=kind, seed=seed, pictures=pictures)
                    found = measures(read_evidence(made.table), made.wrong, made.decided)
                yield {"data": "toyworld", "kind": kind, "noise": noise, "seed": seed} | found


def made_up(seeds: list[int], pairs: int) -> Iterator[dict[str, Any]]:
    """The made-up population."""
    for seed in seeds:
        for kind in KINDS:
            for noise in NOISE:
                made = population(pairs, noise=noise, kind=kind, seed=seed)
                found = measures(made.evidence, made.wrong, made.evidence.winner >= 0)
                yield {"data": "made-up", "kind": kind, "noise": noise, "seed": seed} | found


def speed(pairs: int) -> dict[str, Any]:
    """Seconds and peak bytes of judging so many pairs of eight scorers, the evidence being in memory."""
    evidence = population(pairs, noise=0.15, kind="raters", seed=0).evidence
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    judge(evidence)
    return {
        "pairs": pairs,
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "of_which_evidence": 1024 * before,
    }


def measure(_: Path) -> dict[str, Any]:
    """What judging a million pairs of eight scorers costs, for `make bench`."""
    found = speed(1_000_000)
    return {
        "pairs": f"{found['pairs']:,}",
        "fit and predict": f"{found['seconds']:.1f} s ({found['cpu_seconds']:.1f} s of processors)",
        "peak memory": f"{found['peak_bytes'] / 1e9:.2f} GB",
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: ours, the best rival chosen afterwards in each row, votes and cleanlab; mean over seeds, and by
    how much ours was ahead for each."""
    out = [
        "| noise | rate | wrong | ours | best single scorer | best vote | best cleanlab | ours − best, by seed | ECE |"
    ]
    out.append("|---|---|---|---|---|---|---|---|---|")
    for place, name in enumerate(("AUROC", "AUPRC")):
        out.append(f"| **{name}** |" + " |" * 8)
        for kind in KINDS:
            for noise in NOISE:
                some = [row for row in rows if (row["kind"], row["noise"]) == (kind, noise)]
                if some:
                    out.append(_line(some, place, kind, noise))
    return "\n".join(out)


def _line(rows: list[dict[str, Any]], place: int, kind: str, noise: float) -> str:
    def best(row: dict[str, Any], family: str) -> float:
        return max(v[place] for name, v in row["measures"].items() if _family(name) == family)

    ours = [row["measures"]["ours"][place] for row in rows]
    others = {family: [best(row, family) for row in rows] for family in ("single", "vote", "cleanlab")}
    ahead = [o - max(each) for o, each in zip(ours, zip(*others.values(), strict=True), strict=True)]
    cells = [kind, f"{noise:.2f}", f"{np.mean([row['wrong'] for row in rows]):.3f}"]
    cells.append(f"**{np.mean(ours):.4f}**" + (f" ± {np.std(ours):.4f}" if len(ours) > 1 else ""))
    cells += [f"{np.mean(each):.4f}" for each in others.values()]
    cells += [", ".join(f"{each:+.4f}" for each in ahead), f"{np.mean([row['ece'] for row in rows]):.3f}"]
    return f"| {' | '.join(cells)} |"


def _family(name: str) -> str:
    if name == "ours":
        return name
    if name.startswith("cleanlab"):
        return "cleanlab"
    return "vote" if "vote" in name or "mean" in name else "single"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["toyworld", "made-up", "speed"])
    parser.add_argument("--seeds", default="10,11,12")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        say(json.dumps(speed(arguments.pairs or 1_000_000)))
        return
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    run, pairs = {"toyworld": (toyworld, 3600), "made-up": (made_up, 20_000)}[arguments.what]
    rows = []
    for row in run(seeds, arguments.pairs or pairs):
        rows.append(row)
        say(f"{row['kind']} {row['noise']} {row['seed']} {row['measures']['ours']}")
        if arguments.out:
            arguments.out.write_text(json.dumps(rows))
    say(table(rows))


if __name__ == "__main__":
    main()
