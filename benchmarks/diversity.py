"""Diversity re-ranking at the size of Pick-a-Pic: a pool of 250,000 pairs of which 50,000 are taken, 768 dimensions, by
prompts (60,000 distinct ones) and by the winners' images (all distinct)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.measuring import cost_of

POOL, TAKEN, PROMPTS, DIMENSIONS = 250_000, 50_000, 60_000, 768
_PART = 10_000


def measure(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """One run of each, in a fresh process."""
    facts: dict[str, Any] = {"pool, taken": f"{POOL:,}, {TAKEN:,}", "dimensions": DIMENSIONS}
    for name, distinct in (("prompts", PROMPTS), ("winners", POOL)):
        for method in ("knn-entropy", "facility-location"):
            cost = cost_of("benchmarks.diversity", method, str(distinct))
            told = ", ".join(f"{key} {value}" for key, value in cost.result.items())
            facts[f"{method} by {name}"] = f"{told}, peak {cost.peak_bytes / 1e9:.1f} GB"
    return facts


def work(method: str, distinct: str) -> dict[str, str]:
    """What `rerank` does once embeddings are read: the knn-entropy of prompts is kept, so it is paid once."""
    import time

    import numpy as np

    from ranking.embeddings import Embeddings
    from ranking.subsets.density import log_distances
    from ranking.subsets.facility import locate, similarities
    from ranking.subsets.vectors import centre, on_grid

    n, made = int(distinct), np.random.default_rng(0)
    centres = made.standard_normal((n // 50, DIMENSIONS), np.float32)
    matrix = np.empty((n, DIMENSIONS), np.float16)
    for first in range(0, n, _PART):
        # Clusters of about fifty in a narrow cone, as embeddings of prompts lie.
        rows = min(_PART, n - first)
        drawn = centres[made.integers(len(centres), size=rows)]
        drawn = drawn + 0.8 * made.standard_normal((rows, DIMENSIONS), np.float32) + 1.5
        matrix[first : first + rows] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    embedding = made.integers(n, size=POOL) if n < POOL else np.arange(n)
    started = time.perf_counter()
    if method == "knn-entropy":
        log_distances(Embeddings(tuple(map(str, range(n))), matrix, {}), neighbours=10)
        return {"seconds": f"{time.perf_counter() - started:.1f}"}
    counts = np.bincount(embedding, minlength=n)
    similar = similarities(centre(on_grid(matrix), counts))
    compared = time.perf_counter() - started
    located = locate(similar, embedding, take=TAKEN, weight=0.2)
    return {
        "seconds": f"{time.perf_counter() - started:.1f}",
        "of which comparing": f"{compared:.1f}",
        "objective at least": f"{located.objective:.3f}",
    }
