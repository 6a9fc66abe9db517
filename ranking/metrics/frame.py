"""What the formula of a metric may use: the scores and features of a pair's winner and loser as SQL, constants fitted
on all pairs, and values looked up in small tables. Knows no metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import pyarrow as pa

from ranking import duck
from ranking.metrics.base import Normalize
from ranking.metrics.scaling import Scale, item_scale, prompt_scales, scaled

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable

Side = Literal["winner", "loser", 0, 1]
_FIXED_POINT = 2.0**40


@dataclass(frozen=True)
class _Lookup:
    alias: str
    on: str


class Frame:
    """The pairs a metric is computed over: `relation`, a table or view of `con` with the columns of a wide table and
    `winner`, a column that holds 0, 1 or null.

    Constants are fitted on all rows of the relation, whatever is filtered later. Each is the same to the last bit on
    any machine and with any number of threads, and so must be what a metric makes of them. `table` is where the rows
    come from (embeddings are read from its store); None for rows made up in a test.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        relation: str,
        *,
        winner: str = "winner",
        seed: int = 0,
        table: PairTable | None = None,
    ) -> None:
        self.con = con
        self.relation = duck.identifier(relation)
        self.winner = f"pairs.{duck.identifier(winner)}"
        self.seed = seed
        self.table = table
        self._lookups: list[_Lookup] = []
        self._known: dict[tuple[Any, ...], Any] = {}

    def feature(self, name: str) -> str:
        """The value of a field."""
        return f"pairs.{duck.identifier(name)}"

    def score(self, scorer: str, side: Side, normalize: Normalize = "raw") -> str:
        """ψ: the score of an image, normalised (`ranking.metrics.scaling` says how), a DOUBLE. Null without a score,
        and for the winner and loser of a pair without a winner."""
        first, second = (f"{self.feature(f'{scorer}.{index}')}::DOUBLE" for index in (0, 1))
        raw = {
            "winner": f"CASE {self.winner} WHEN 0 THEN {first} WHEN 1 THEN {second} END",
            "loser": f"CASE {self.winner} WHEN 0 THEN {second} WHEN 1 THEN {first} END",
            0: first,
            1: second,
        }[side]
        if normalize == "raw":
            return f"({raw})"
        if normalize == "prompt-z":
            columns = ("low", "high", "mean", "deviation")
            low, high, mean, deviation = (
                self.lookup(prompt_scales(self.relation, scorer), key="prompt_id", on="pairs.prompt_id", value=value)
                for value in columns
            )
            return scaled(raw, normalize, low=low, high=high, mean=mean, deviation=deviation)
        scale = self.scale(scorer)
        return scaled(
            raw,
            normalize,
            low=number(scale.low),
            high=number(scale.high),
            mean=number(scale.mean),
            deviation=number(scale.deviation),
        )

    def gap(self, scorer: str, normalize: Normalize = "raw") -> str:
        """ψ of the winner − ψ of the loser."""
        return f"({self.score(scorer, 'winner', normalize)} - {self.score(scorer, 'loser', normalize)})"

    def scale(self, scorer: str) -> Scale:
        """Extremes, mean and population deviation of the scorer's scores of the dataset's items: an image that occurs
        in several pairs of a prompt counts once."""
        if self.table is not None:
            return self.table.scale(scorer)  # counted when the wide table was built
        found: Scale = self.once(("scale", scorer), lambda: item_scale(self.con, self.relation, scorer))
        return found

    def moments(self, expression: str) -> tuple[float, float]:
        """Mean and population deviation of an expression over all pairs where it is not null; (0, 0) if it is null
        everywhere. Sums are of fixed-point numbers, which no order of adding changes; values must stay below 1e18."""
        total = "sum(({})::HUGEINT)"
        fixed = f"round(value * {_FIXED_POINT})"
        found = self.fit(
            f"SELECT count(value) AS n, {total.format(fixed)} AS s FROM (SELECT {expression} AS value {self.source()})"
        )
        if not found["n"]:
            return 0.0, 0.0
        mean = int(found["s"]) / _FIXED_POINT / found["n"]
        square = f"round(pow(value - {number(mean)}, 2) * {_FIXED_POINT})"
        spread = self.fit(f"SELECT {total.format(square)} AS s FROM (SELECT {expression} AS value {self.source()})")
        return mean, (int(spread["s"]) / _FIXED_POINT / found["n"]) ** 0.5

    def fit(self, query: str) -> dict[str, Any]:
        """The one row of a query that fits something, by column. Its numbers must not depend on the order of rows."""
        rows = duck.arrow(self.con, query).to_pylist()
        return dict(rows[0])

    def lookup(self, values: str | pa.Table, *, key: str, on: str, value: str) -> str:
        """The `value` of the row of `values` whose `key` equals the expression `on`, null where there is none.

        `values` is a query or an Arrow table with at most one row for each key, kept as a table of the connection.
        """
        lookup: _Lookup = self.once(
            ("lookup", values if isinstance(values, str) else id(values), key, on),
            lambda: self._kept(values, key, on),
        )
        return _qualified(lookup.alias, value)

    def _kept(self, values: str | pa.Table, key: str, on: str) -> _Lookup:
        alias = f"lookup_{len(self._lookups)}"
        # Its columns get names that no column of the pairs has.
        renamed = f"CREATE TABLE {alias} AS SELECT COLUMNS('(.*)') AS '{alias}.\\1' FROM"
        if isinstance(values, str):
            self.con.execute(f"{renamed} ({values})")
        else:
            self.con.register(f"{alias}_given", values)
            self.con.execute(f"{renamed} {alias}_given")
            self.con.unregister(f"{alias}_given")
        kept = _Lookup(alias, f"{_qualified(alias, key)} = {on}")
        self._lookups.append(kept)
        return kept

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for this frame and key."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def source(self) -> str:
        """The FROM clause that expressions of this frame need, with what they look up so far."""
        joins = "".join(f" LEFT JOIN {lookup.alias} ON {lookup.on}" for lookup in self._lookups)
        return f"FROM {self.relation} pairs{joins}"


def _qualified(alias: str, column: str) -> str:
    return f"{alias}.{duck.identifier(f'{alias}.{column}')}"


def number(value: float) -> str:
    """A DOUBLE as SQL, to the last bit."""
    return f"({value!r}::DOUBLE)"
