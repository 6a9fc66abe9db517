"""`make bench`: run every benchmark, or those named (`python -m benchmarks wide images`), and print their figures."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from service.console import print_facts, say

NAMES = (
    "ingest",
    "wide",
    "images",
    "exports",
    "scoring",
    "scoring_full",
    "scoring_suite",
    "ranking",
    "ranking_large",
    "diversity",
    "confidence",
    "training",
    "training_data",
    "training_gpu",
    "first_step",
    "gpu",
)


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in names or NAMES:
        module = import_module(f"benchmarks.{name}")
        say(f"\n{' '.join((module.__doc__ or '').split())}")
        with tempfile.TemporaryDirectory() as folder:
            print_facts(module.measure(Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
