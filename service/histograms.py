"""Histograms of a numeric field over a listing: readable bin edges, and counts of all pairs and of those
selected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ranking import duck
from ranking.query import compile_filter
from service.browse import Listing


@dataclass(frozen=True)
class Bin:
    """Pairs with low ≤ value < high; None is an open end."""

    low: float | None
    high: float | None
    total: int
    selected: int


@dataclass(frozen=True)
class Histogram:
    """`total` counts every pair of the dataset, `selected` those that pass the listing's filters; `nulls` have no
    value. `counts` says that the field is a whole number and has a bin for each."""

    field: str
    bins: list[Bin]
    nulls: int
    counts: bool = False


def histogram(listing: Listing, field: str, *, most_bins: int = 36) -> Histogram:
    """At most about `most_bins` bins between the 0.5th and 99.5th percentile, with open bins for what lies
    beyond."""
    columns, relation = listing.table.columns, listing.relation(field)
    name = duck.identifier(field)
    condition, params = compile_filter(listing.where, columns)
    with listing.view.cursor() as con:
        ends = duck.arrow(
            con,
            f"SELECT quantile_cont({name}::DOUBLE, [0.005, 0.995]) AS ends, min({name})::DOUBLE AS low, "
            f"max({name})::DOUBLE AS high, count(*) FILTER ({name} IS NULL) AS nulls, "
            f"bool_and({name} = floor({name})) AS whole FROM {relation}",
        ).to_pylist()[0]
        if ends["ends"] is None:
            return Histogram(field, [], ends["nulls"])
        edges = _edges(*ends["ends"], most=most_bins, whole=ends["whole"])
        marks = ", ".join("?" for _ in edges)
        counted = duck.arrow(
            con,
            f"""SELECT len(list_filter([{marks}]::DOUBLE[], lambda edge: edge <= value)) AS bin,
                count(*) AS total, count(*) FILTER (keep) AS selected
                FROM (SELECT {name}::DOUBLE AS value, ({condition}) AS keep FROM {relation}
                      WHERE {name} IS NOT NULL)
                GROUP BY bin""",
            [*edges, *params],
        ).to_pylist()
    counts = {row["bin"]: (row["total"], row["selected"]) for row in counted}
    bounds = [None, *edges, None]
    bins = [Bin(low, high, *counts.get(index, (0, 0))) for index, (low, high) in enumerate(pairwise(bounds))]
    # An open bin that holds nothing is only noise at the rim.
    first = 0 if bins[0].total else 1
    last = len(bins) if bins[-1].total else len(bins) - 1
    return Histogram(field, bins[first:last], ends["nulls"], counts=ends["whole"] and edges[1] - edges[0] == 1)


def _edges(low: float, high: float, *, most: int, whole: bool) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten that cover [low, high] with at most `most` steps."""
    if high <= low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    start, stop = math.floor(low / step), math.floor(high / step) + 1
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(start, stop + 1)]
