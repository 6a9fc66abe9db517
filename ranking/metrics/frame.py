"""What the formula of a metric may use: the scores and features of a pair's winner and loser as SQL, constants fitted
on all pairs, and values looked up in small tables. Knows no metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import pyarrow as pa

from ranking import duck
from ranking.metrics.base import Normalize
from ranking.metrics.exact import Moments, moments, number
from ranking.metrics.scaling import Scale, extremes, items, prompt_scales, scaled, scaled_in_prompt

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable

Side = Literal["winner", "loser", 0, 1]


@dataclass(frozen=True)
class _Step:
    """A table that is joined, or an expression that has a name; `level` says how far in it stands."""

    name: str
    text: str
    joins: bool
    level: int


class Frame:
    """The pairs a metric is computed over: `relation`, a table or view of `con` with the columns of a wide table and
    `winner`, a column that holds 0, 1 or null.

    Constants are fitted on all rows of the relation, whatever is filtered later. Each is the same to the last bit on
    any machine and with any number of threads, and so must be what a metric makes of them. `table` is where the rows
    come from (embeddings are read from its store); None for rows made up in a test.

    Expressions hold in a query that ends with `source()`, taken after the last of them was made.
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
        self._steps: dict[str, _Step] = {}
        self._known: dict[tuple[Any, ...], Any] = {}
        self._together: tuple[str, ...] = ()

    def feature(self, name: str) -> str:
        """The value of a field."""
        return f"pairs.{duck.identifier(name)}"

    def of_side(self, name: str, side: Side) -> str:
        """The value of the field "<name>0" or "<name>1", whichever is of that side's image (`wins_`, `hpsv2.`).
        Null for the winner and loser of a pair without a winner."""
        first, second = (self.feature(f"{name}{index}") for index in (0, 1))
        if side == "winner":
            return f"(CASE {self.winner} WHEN 0 THEN {first} WHEN 1 THEN {second} END)"
        if side == "loser":
            return f"(CASE {self.winner} WHEN 0 THEN {second} WHEN 1 THEN {first} END)"
        return second if side else first

    def score(self, scorer: str, side: Side, normalize: Normalize = "raw") -> str:
        """ψ: the score of an image, normalised (`ranking.metrics.scaling` says how), a DOUBLE. Null without a score,
        and for the winner and loser of a pair without a winner."""
        raw = f"({self.of_side(f'{scorer}.', side)}::DOUBLE)"
        if normalize == "prompt-z":
            known = self._prompt_scales(scorer)
            mean, deviation = (
                self.lookup(known, key="prompt_id", on=self.feature("prompt_id"), value=f"{scorer}.{part}")
                for part in ("mean", "deviation")
            )
            return scaled_in_prompt(raw, mean=mean, deviation=deviation)
        return scaled(raw, normalize, self._scale(scorer, normalize))

    def gap(self, scorer: str, normalize: Normalize = "raw") -> str:
        """ψ of the winner − ψ of the loser."""
        return f"({self.score(scorer, 'winner', normalize)} - {self.score(scorer, 'loser', normalize)})"

    def zgap(self, scorer: str) -> str:
        """The gap in units of the deviation of all scores that the scorer gives the dataset's items, as the field
        "<scorer>.zgap" has it; 0 if they are all the same."""
        return f"({self.gap(scorer)} / {number(self.scale(scorer).deviation or 1.0)})"

    def range(self, scorer: str) -> tuple[float, float]:
        """The least and the greatest of the scorer's scores."""
        if self.table is not None:
            scale = self.table.scale(scorer)
            return scale.low, scale.high
        found = self._extremes(scorer)
        return found["low"], found["high"]

    def scale(self, scorer: str) -> Scale:
        """Extremes, mean and population deviation of the scorer's scores of the dataset's items: an image that occurs
        in several pairs of a prompt counts once."""
        if self.table is not None:
            return self.table.scale(scorer)  # counted when the wide table was built

        def found() -> Scale:
            value = f"SELECT {duck.identifier(f'{scorer}.score')}::DOUBLE AS value FROM {self.items([scorer])}"
            of = moments(self.con, value, extremes=extremes(self.relation, scorer))
            return Scale(of.low, of.high, of.mean, of.deviation)

        known: Scale = self.once(("scale", scorer), found)
        return known

    def items(self, scorers: Iterable[str]) -> str:
        """The name of a table of the items, each once: prompt_id, uid, and "<scorer>.score" of each."""
        wanted = tuple(dict.fromkeys(scorers))
        return self.keep(items(self.relation, self._together if set(wanted) <= set(self._together) else wanted))

    @contextmanager
    def together(self, scorers: Iterable[str]) -> Iterator[None]:
        """Inside it, what is found out about the items of one of these scorers is found out for all of them at once."""
        if self._together:
            yield
            return
        self._together = tuple(dict.fromkeys(scorers))
        try:
            yield
        finally:
            self._together = ()

    def moments(self, expression: str) -> Moments:
        """The moments of an expression over all pairs where it is finite."""

        def found() -> Moments:
            value = self.let(expression)
            # Kept, as it may cost more to compute than to write, and is read twice.
            kept = self.keep(f"SELECT {value} AS value {self.source()}")
            return moments(self.con, f"SELECT value FROM {kept} WHERE isfinite(value)")

        known: Moments = self.once(("moments", expression), found)
        return known

    def quantiles(self, expression: str, shares: Iterable[float]) -> list[float]:
        """Of all pairs where the expression is finite, the smallest values that at least these shares of them do not
        exceed. Zeros if there are none."""
        wanted = ", ".join(number(share) for share in shares)
        value = self.let(expression)
        found = self.fit(f"SELECT quantile_disc({value}, [{wanted}]) AS found {self.source()} WHERE isfinite({value})")[
            "found"
        ]
        return [float(each) for each in found] if found else [0.0 for _ in wanted.split(",")]

    def fit(self, query: str) -> dict[str, Any]:
        """The one row of a query that fits something, by column. Its numbers must not depend on the order of rows."""
        return dict(duck.arrow(self.con, query).to_pylist()[0])

    def let(self, expression: str) -> str:
        """A name for an expression, which is then computed once however often it is named."""

        def named() -> str:
            name = f'"let {len(self._steps)}"'
            self._steps[name] = _Step(name, expression, False, self._level(expression))
            return name

        found: str = self.once(("let", expression), named)
        return found

    def lookup(
        self, values: str | pa.Table, *, key: str | tuple[str, ...], on: str | tuple[str, ...], value: str
    ) -> str:
        """The `value` of the row of `values` whose `key` equals the expression `on`, null where there is none; several
        keys and expressions must all be equal. `values` is what `keep` takes, with at most one row for each key."""
        name, keys, equal = self.keep(values), _tuple(key), _tuple(on)

        def joined() -> str:
            alias = f"joined_{len(self._steps)}"
            condition = " AND ".join(
                f"{duck.identifier(f'{alias}.{column}')} = {each}" for column, each in zip(keys, equal, strict=True)
            )
            # Its columns get names that no column of the pairs has.
            table = f"(SELECT COLUMNS('(.*)') AS '{alias}.\\1' FROM {name}) {alias}"
            level = self._level(condition, joins=True)
            self._steps[alias] = _Step(f'"{alias}.', f"{table} ON {condition}", True, level)
            return alias

        found: str = self.once(("joined", name, keys, equal), joined)
        return duck.identifier(f"{found}.{value}")

    def keep(self, values: str | pa.Table) -> str:
        """The name of a table of the connection with what a query or an Arrow table holds."""

        def kept() -> str:
            name = f"kept_{len(self._known)}"
            if isinstance(values, str):
                self.con.execute(f"CREATE TEMP TABLE {name} AS {values}")
            else:
                self.con.register(f"{name}_given", values)
                self.con.execute(f"CREATE TEMP TABLE {name} AS FROM {name}_given")
                self.con.unregister(f"{name}_given")
                self.once(("given", id(values)), lambda: values)  # alive, so that its id stays its own
            return name

        found: str = self.once(("kept", values if isinstance(values, str) else id(values)), kept)
        return found

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for this frame and key."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def source(self) -> str:
        """The FROM clause that expressions of this frame need, with what they name and look up so far."""
        text = f"{self.relation} pairs"
        for level in range(max((step.level for step in self._steps.values()), default=-1) + 1):
            here = [step for step in self._steps.values() if step.level == level]
            text += "".join(f" LEFT JOIN {step.text}" for step in here if step.joins)
            lets = "".join(f", {step.text} AS {step.name}" for step in here if not step.joins)
            text = f"(SELECT *{lets} FROM {text}) pairs"
        return f"FROM {text}"

    def _level(self, expression: str, *, joins: bool = False) -> int:
        """How far in an expression may stand: outside of what it names, beside what it looks up."""
        inside = [step for step in self._steps.values() if step.name in expression]
        return max((step.level + (joins or not step.joins) for step in inside), default=0)

    def _scale(self, scorer: str, normalize: Normalize) -> Scale:
        if normalize == "raw":
            return Scale(0.0, 0.0, 0.0, 0.0)
        return Scale(*self.range(scorer), 0.0, 0.0) if normalize == "minmax" else self.scale(scorer)

    def _extremes(self, scorer: str) -> dict[str, Any]:
        found: dict[str, Any] = self.once(("extremes", scorer), lambda: self.fit(extremes(self.relation, scorer)))
        return found

    def _prompt_scales(self, scorer: str) -> str:
        scorers = self._together if scorer in self._together else (scorer,)
        n = max(int(self.fit(f"SELECT 2 * count(*) AS n FROM {self.relation}")["n"]), 1)
        return prompt_scales(self.items(scorers), {name: self.range(name) for name in scorers}, n=n)


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
