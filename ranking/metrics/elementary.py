"""The exponential function, the logistic function and the logarithm out of additions, multiplications and divisions,
which every machine rounds alike; those of C libraries differ in the last bit. As SQL."""

from collections.abc import Callable
from math import factorial, sqrt

from ranking.metrics.exact import number

Let = Callable[[str], str]
"""Gives an expression a name, so that it is computed once."""

# ln 2 in two parts; the first has few enough digits that a whole number below 2^20 times it is exact.
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_LARGEST = 700.0
TAYLOR = [1 / factorial(power) for power in range(14)]  # of e^r for |r| ≤ ln 2 / 2: the rest is below 5e-18
_TERMS = 12  # of ln m for √½ ≤ m ≤ √2: the rest is below 2e-20


def exponential(let: Let, x: str) -> str:
    """e^x to within 2 units in the last place, x kept between −700 and 700; null where x is null.

    x = k · ln 2 + r with |r| ≤ ln 2 / 2, and e^x = 2^k · e^r by Taylor's series.
    """
    x = let(x)
    x = let(f"CASE WHEN {x} IS NOT NULL THEN greatest(least({x}, {number(_LARGEST)}), {number(-_LARGEST)}) END")
    k = let(f"round({x} * {number(1 / (LN2_HIGH + LN2_LOW))})")
    r = let(f"({x} - {k} * {number(LN2_HIGH)}) - {k} * {number(LN2_LOW)}")
    return f"({_polynomial(r, TAYLOR)} * pow(2, {k}))"


def logistic(let: Let, z: str) -> str:
    """1 / (1 + e^−z), null where z is null."""
    return f"(1 / (1 + {exponential(let, f'-({z})')}))"


def logarithm(let: Let, x: str) -> str:
    """ln x to within 2 units in the last place of what is larger, ln x or ln 2; null where x is not positive.

    x = 2^k · m with √½ ≤ m ≤ √2, and ln m = 2 · artanh((m − 1) / (m + 1)) by its series.
    """
    x = let(f"CASE WHEN ({x}) > 0 THEN ({x}) END")
    # A library's logarithm finds k, which the comparisons put right where it was rounded the other way.
    guess = let(f"floor(log2({x}) + 0.5)")
    rough = let(f"{x} / pow(2, {guess})")
    low, high = number(sqrt(0.5)), number(sqrt(2.0))
    k = let(f"{guess} + CASE WHEN {rough} > {high} THEN 1 WHEN {rough} < {low} THEN -1 ELSE 0 END")
    m = let(f"{x} / pow(2, {k})")
    s = let(f"({m} - 1) / ({m} + 1)")
    square = let(f"{s} * {s}")
    series = _polynomial(square, [2 / (2 * term + 1) for term in range(_TERMS)])
    return f"({k} * {number(LN2_HIGH)} + ({k} * {number(LN2_LOW)} + {s} * {series}))"


def _polynomial(x: str, coefficients: list[float]) -> str:
    """Horner's rule, the constant first."""
    text = number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        text = f"({number(coefficient)} + {x} * {text})"
    return text
