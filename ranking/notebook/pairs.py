"""The pairs of a dataset as a query that is not run before its rows are asked for. Ranks nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ranking import duck
from ranking.errors import NotFoundError, UsageError
from ranking.features.fields import Field
from ranking.features.pairs import PairTable
from ranking.notebook.conditions import joined, keyword_filters
from ranking.notebook.frames import Tabular
from ranking.query import FilterNode, compile_filter, fields_in, known_column
from ranking.store.snapshots import Snapshot

if TYPE_CHECKING:
    from ranking.notebook.look import Look
    from ranking.notebook.ranked import Ranking


@dataclass(frozen=True, repr=False)
class Pairs(Tabular):
    """Pairs of one dataset as one snapshot saw them: those that pass `filter`, the columns `columns` (all of the wide
    table if empty), sorted by `order`, at most `most`. Immutable: each method gives another one."""

    table: PairTable
    filter: FilterNode | None = None
    columns: tuple[str, ...] = ()
    order: tuple[str, bool] | None = None
    most: int | None = None

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.table.dataset

    @property
    def snapshot(self) -> Snapshot:
        """What the pairs are seen through."""
        return self.table.snapshot

    @property
    def fields(self) -> Mapping[str, Field]:
        """Everything one may filter, sort, select and describe by, with kind and meaning."""
        return self.table.fields

    @property
    def scorers(self) -> list[str]:
        """The scorers of the snapshot."""
        return self.table.scorers

    @property
    def embeddings(self) -> list[str]:
        """The embeddings of the snapshot."""
        return self.table.embeddings

    def where(self, *trees: Any, **conditions: Any) -> Pairs:
        """Those that also pass every one of the filter trees and keywords: `where(is_tie=False)`,
        `where(label_confidence__gte=0.6)`, `where({"or": [...]})`, `where(**{"pickscore.gap__gt": 0})`.

        Operators are those of recipes: eq, ne, gt, gte, lt, lte, in, isnull. A list means `in`, None `isnull`.
        """
        if self.most is not None:
            raise UsageError("where() after head() would filter the head only", hint="call where() first")
        parts = [*trees, *keyword_filters(conditions, self.fields)]
        return replace(self, filter=joined(self.filter, parts, self.fields))

    def select(self, *names: str) -> Pairs:
        """The same pairs with these columns only."""
        for name in names:
            known_column(name, self.fields)
        return replace(self, columns=names)

    def sort(self, field: str, *, descending: bool = False) -> Pairs:
        """The same pairs by a field, nulls last in either direction, then by pair_id."""
        known_column(field, self.fields)
        return replace(self, order=(field, descending))

    def head(self, most: int = 10) -> Pairs:
        """At most the first so many."""
        if most < 1:
            raise UsageError(f"a head of {most} rows is none", hint="ask for 1 or more")
        return replace(self, most=most if self.most is None else min(most, self.most))

    def count(self) -> int:
        """How many there are."""
        return int(self._run("count(*) AS n")["n"][0].as_py())

    def __len__(self) -> int:
        return self.count()

    def to_arrow(self) -> pa.Table:
        """The rows: in the order of ingestion unless sorted."""
        return self._run(", ".join(map(duck.identifier, self._shown())), ordered=True)

    def describe(self, *names: str) -> pa.Table:
        """One row for each field: field, kind, count (of what is not null), nulls, distinct, and of numbers mean,
        deviation (of the population), low, quarter, median, three_quarters, high. Without names: all numbers."""
        chosen = names or [field.name for field in self._wide() if field.kind == "number"]
        rows = []
        for first in range(0, len(chosen), 16):
            part = [known_column(name, self.fields) for name in chosen[first : first + 16]]
            found = self._run(", ".join(_summary(i, field) for i, field in enumerate(part)), reads=chosen).to_pylist()
            rows += [{"field": f.name, "kind": f.kind} | found[0][f"s{i}"] for i, f in enumerate(part)]
        return pa.Table.from_pylist(rows, schema=_DESCRIBED)

    def histogram(self, field: str, *, bins: int = 20) -> pa.Table:
        """How the values of a number lie: low, high and count of `bins` steps of equal width between the smallest and
        the largest one, low ≤ value < high, and ≤ for the last. No rows where all are null."""
        if known_column(field, self.fields).kind != "number":
            raise UsageError(f"{field} is no number, so it has no histogram", hint=f"use values({field!r})")
        if not 1 <= bins <= 1000:
            raise UsageError(f"a histogram cannot have {bins} bins", hint="ask for 1 to 1000")
        name = f"{duck.identifier(field)}::DOUBLE"
        (ends,) = self._run(f"min({name}) AS low, max({name}) AS high", reads=[field]).to_pylist()
        low, high = ends["low"], ends["high"]
        if low is None:
            return _HISTOGRAM.empty_table()
        step = (high - low) / bins or 1.0
        bin_ = f"least(floor(({name} - {low!r}) / {step!r}), {bins - 1})::BIGINT"
        found = self._run(f"{bin_} AS bin, count(*) AS n", reads=[field], group="bin").to_pylist()
        counts = {row["bin"]: row["n"] for row in found}
        edges = [low + i * step for i in range(bins)] + [high if high > low else low + bins * step]
        return pa.table([edges[:-1], edges[1:], [counts.get(i, 0) for i in range(bins)]], schema=_HISTOGRAM)

    def values(self, field: str, *, most: int = 50) -> pa.Table:
        """The most frequent values of a field: value and count."""
        name = duck.identifier(known_column(field, self.fields).name)
        found = self._run(f"{name} AS value, count(*) AS count", reads=[field], group="value")
        return found.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, most)

    def pair(self, pair_id: str) -> Look:
        """One pair to look at: both images, prompt, labels, scores, and how far the label is to be believed and why;
        NotFoundError for an unknown id."""
        from ranking.notebook.look import look_at

        with self.table.connect() as con:
            query = f"SELECT 1 FROM {self.table.relation()} WHERE pair_id = ?"
            if not con.execute(query, [pair_id]).fetchall():
                raise NotFoundError(f"dataset {self.dataset} has no pair {pair_id} in snapshot {self.snapshot.n}")
        return look_at(self.table, [pair_id], reasons=True)

    def look(self, most: int = 6) -> Look:
        """The first few of them to look at."""
        from ranking.notebook.look import look_at

        found = self.select("pair_id").head(most).to_arrow()
        return look_at(self.table, found["pair_id"].to_pylist())

    def rank(self, metric: str | Mapping[str, Any], **options: Any) -> Ranking:
        """These pairs by a quality metric: `rank("qsd", scorer="hpsv2.1", normalize="minmax")`, or the map that a
        recipe has."""
        from ranking.notebook.ranked import Ranking

        if self.most is not None:
            raise UsageError("rank() after head() would rank the head only", hint="rank first, then top()")
        spec = {"name": metric, **options} if isinstance(metric, str) else {**metric, **options}
        values: dict[str, Any] = {"dataset": self.dataset, "metric": spec}
        if self.filter is not None:
            values["where"] = self.filter.model_dump(mode="json", by_alias=True)
        return Ranking(self.table, values).checked()

    def __repr__(self) -> str:
        said = [f"Pairs of {self.dataset}, snapshot {self.snapshot.n}"]
        if self.filter is not None:
            said.append(f"where {self.filter.model_dump(mode='json', by_alias=True)}")
        if self.order is not None:
            said.append(f"by {self.order[0]}{' descending' if self.order[1] else ''}")
        if self.most is not None:
            said.append(f"the first {self.most}")
        return f"<{', '.join(said)}>"

    def _wide(self) -> list[Field]:
        with self.table.connect() as con:
            names = con.sql(f"SELECT * FROM {self.table.relation()} LIMIT 0").columns
        return [self.fields[name] for name in names if name in self.fields]

    def _shown(self) -> list[str]:
        return list(self.columns) or [field.name for field in self._wide()]

    def _run(self, what: str, *, ordered: bool = False, reads: Any = (), group: str = "") -> pa.Table:
        named = [*fields_in(self.filter), *(self.columns if ordered else ()), *reads]
        named += [self.order[0]] if self.order else []
        condition, params = compile_filter(self.filter, self.fields)
        direction = "position"
        if self.order:
            column, descending = self.order
            direction = f"{duck.identifier(column)} {'DESC' if descending else 'ASC'} NULLS LAST, pair_id"
        limit = "" if self.most is None else f"ORDER BY {direction} LIMIT {self.most}"
        rows = f"(SELECT * FROM {self.table.relation(dict.fromkeys(named), position=True)} WHERE {condition} {limit})"
        order = f"ORDER BY {direction}" if ordered else f"GROUP BY {group}" if group else ""
        nulls = f"WHERE {duck.identifier(reads[0])} IS NOT NULL" if group == "bin" else ""
        with self.table.connect() as con:
            return duck.arrow(con, f"SELECT {what} FROM {rows} {nulls} {order}", params)


_HISTOGRAM = pa.schema([("low", pa.float64()), ("high", pa.float64()), ("count", pa.int64())])
_NUMBERS = ("mean", "deviation", "low", "quarter", "median", "three_quarters", "high")
_DESCRIBED = pa.schema(
    [("field", pa.string()), ("kind", pa.string())]
    + [(name, pa.int64()) for name in ("count", "nulls", "distinct")]
    + [(name, pa.float64()) for name in _NUMBERS]
)


def _summary(index: int, field: Field) -> str:
    name = duck.identifier(field.name)
    parts = {"count": f"count({name})", "nulls": f"count(*) - count({name})", "distinct": f"count(DISTINCT {name})"}
    if field.kind == "number":
        value = f"{name}::DOUBLE"
        formulas = (
            f"avg({value})",
            f"stddev_pop({value})",
            f"min({value})",
            *(f"quantile_cont({value}, {share})" for share in (0.25, 0.5, 0.75)),
            f"max({value})",
        )
        parts |= dict(zip(_NUMBERS, formulas, strict=True))
    return f"{{{', '.join(f'{key!r}: {formula}' for key, formula in parts.items())}}} AS s{index}"
