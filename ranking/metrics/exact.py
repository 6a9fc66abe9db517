"""Means and deviations that are the same to the last bit whatever the order of adding: sums of whole numbers. Not what
they are used for."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb

from ranking import duck

_WIDEST = 126  # bits of a HUGEINT that a sum may fill
_FINEST = 52  # bits of a DOUBLE that holds a whole number


@dataclass(frozen=True)
class Grid:
    """Places for numbers between `low` and `high`: value ≈ low + place · 2^−exponent, places from 0 up."""

    low: float
    exponent: int

    @classmethod
    def over(cls, low: float, high: float, *, bits: int) -> "Grid":
        """The finest grid of powers of two with places below about 2^bits."""
        half = high / 2 - low / 2  # the span itself may be too large for a float
        return cls(low, min(bits - 1 - math.frexp(half)[1], 1000) if half > 0 else 0)

    def places(self, value: str) -> str:
        """SQL for the place of an expression, a BIGINT."""
        step = math.ldexp(1.0, self.exponent)
        return f"round(({value}) * {number(step)} - {number(self.low * step)})::BIGINT"

    def value(self, place: Fraction) -> float:
        """The number at a place, correctly rounded."""
        return float(Fraction(self.low) + place / Fraction(2) ** self.exponent)

    def width(self, places: float) -> float:
        """How wide so many places are."""
        return math.ldexp(places, -self.exponent)


@dataclass(frozen=True)
class Moments:
    """Of n numbers: extremes, mean and population deviation. All 0 where n is 0."""

    n: int
    low: float
    high: float
    mean: float
    deviation: float

    @property
    def size(self) -> float:
        """The root of the mean square: how far from 0 the numbers usually are."""
        largest = max(abs(self.mean), self.deviation)
        return largest * math.sqrt((self.mean / largest) ** 2 + (self.deviation / largest) ** 2) if largest else 0.0


def bits_for(numbers: int, *, squared: int = 1) -> int:
    """How fine a grid may be so that `numbers` places squared can be summed, and that sum multiplied by `numbers`
    another `squared` − 1 times."""
    return min(_FINEST, (_WIDEST - squared * numbers.bit_length()) // 2)


def moments(con: duckdb.DuckDBPyConnection, query: str, *, extremes: str | None = None) -> Moments:
    """The moments of the column `value` of a query, nulls left out. Values must be finite.

    `extremes` is a query for n, low and high where that is cheaper than to run `query` twice; its n may be larger.
    """
    found = _row(con, extremes or f"SELECT count(value) AS n, min(value) AS low, max(value) AS high FROM ({query})")
    if not found["n"]:
        return Moments(0, 0.0, 0.0, 0.0, 0.0)
    grid = Grid.over(found["low"], found["high"], bits=bits_for(found["n"]))
    sums = _row(
        con,
        f"""SELECT count(place) AS n, sum(place) AS total, sum(place::HUGEINT * place) AS squares
            FROM (SELECT {grid.places("value")} AS place FROM ({query}))""",
    )
    n, total, squares = (int(sums[name]) for name in ("n", "total", "squares"))
    spread = math.sqrt(Fraction(n * squares - total * total, n * n))
    return Moments(n, found["low"], found["high"], grid.value(Fraction(total, n)), grid.width(spread))


def number(value: float) -> str:
    """A finite DOUBLE as SQL, to the last bit."""
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot stand in a formula")
    return f"{duck.literal(repr(float(value)))}::DOUBLE"


def _row(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    names_and_values = con.sql(query)
    return dict(zip(names_and_values.columns, names_and_values.fetchall()[0], strict=True))
