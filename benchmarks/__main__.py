"""`make bench`: run every benchmark and print its figures."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import images, ingest, scoring
from service.console import print_facts, say


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for module in (ingest, images, scoring):
            say(f"\n{(module.__doc__ or '').strip().splitlines()[0]}")
            print_facts(module.measure(Path(folder)))


if __name__ == "__main__":
    main()
