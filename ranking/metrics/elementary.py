"""The exponential function, the logistic function and the logarithm out of additions, multiplications and divisions,
which every machine rounds alike; those of C libraries differ in the last bit. As SQL."""

from math import factorial, sqrt

from ranking.metrics.exact import number

# ln 2 in two parts; the first has few enough digits that a whole number below 2^20 times it is exact.
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_LARGEST = 700.0
TAYLOR = [1 / factorial(power) for power in range(14)]  # of e^r for |r| ≤ ln 2 / 2: the rest is below 5e-18
_TERMS = 12  # of ln m for √½ ≤ m ≤ √2: the rest is below 2e-20


def exponential(x: str) -> str:
    """e^x to within 2 units in the last place, x kept between −700 and 700; null where x is null.

    x = k · ln 2 + r with |r| ≤ ln 2 / 2, and e^x = 2^k · e^r by Taylor's series.
    """
    # `least` and `greatest` pass nulls over.
    kept = f"CASE WHEN e_x IS NOT NULL THEN greatest(least(e_x, {number(_LARGEST)}), {number(-_LARGEST)}) END"
    return _where(
        ("e_x", x),
        ("e_c", kept),
        ("e_k", f"round(e_c * {number(1 / (LN2_HIGH + LN2_LOW))})"),
        ("e_r", f"(e_c - e_k * {number(LN2_HIGH)}) - e_k * {number(LN2_LOW)}"),
        result=f"{_polynomial('e_r', TAYLOR)} * pow(2, e_k)",
    )


def logistic(z: str) -> str:
    """1 / (1 + e^−z), null where z is null."""
    return f"(1 / (1 + {exponential(f'-({z})')}))"


def logarithm(x: str) -> str:
    """ln x to within 2 units in the last place of what is larger, ln x or ln 2; null where x is not positive.

    x = 2^k · m with √½ ≤ m ≤ √2, and ln m = 2 · artanh((m − 1) / (m + 1)) by its series.
    """
    above, below = number(sqrt(2.0)), number(sqrt(0.5))
    series = _polynomial("l_q", [2 / (2 * term + 1) for term in range(_TERMS)])
    return _where(
        ("l_x", x),
        ("l_p", "CASE WHEN l_x > 0 THEN l_x END"),
        # A library's logarithm guesses k, which the comparisons put right where it was rounded the other way.
        ("l_g", "floor(log2(l_p) + 0.5)"),
        ("l_h", "l_p / pow(2, l_g)"),
        ("l_k", f"l_g + CASE WHEN l_h > {above} THEN 1 WHEN l_h < {below} THEN -1 ELSE 0 END"),
        ("l_m", "l_p / pow(2, l_k)"),
        ("l_s", "(l_m - 1) / (l_m + 1)"),
        ("l_q", "l_s * l_s"),
        result=f"l_k * {number(LN2_HIGH)} + (l_k * {number(LN2_LOW)} + l_s * {series})",
    )


def _where(*names: tuple[str, str], result: str) -> str:
    """The expression `result` with each name standing for its value, which may hold the names before it. The planner
    copies an expression to wherever the column it makes is named, and computes each copy; what a lambda is given, it
    computes once."""
    text = result
    for name, value in reversed(names):
        text = f"list_transform([{value}], lambda {name}: {text})[1]"
    return f"({text})"


def _polynomial(x: str, coefficients: list[float]) -> str:
    """Horner's rule, the constant first."""
    text = number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        text = f"({number(coefficient)} + {x} * {text})"
    return text
