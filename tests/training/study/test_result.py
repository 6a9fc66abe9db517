"""How a study's numbers are told."""

import pytest

from training.study.result import shown


@pytest.mark.parametrize(
    ("value", "form", "signed", "told"),
    [
        (-0.0523, "share", True, "−5.2"),
        (0.5, "share", True, "+50.0"),
        (-1234.56, "count", False, "−1,234.6"),
        (-0.5, "other", False, "−0.500"),
        (None, "share", True, "–"),
    ],
)
def test_a_number_below_zero_has_a_minus_and_one_that_is_not_there_a_dash(
    value: float | None, form: str, signed: bool, told: str
) -> None:
    assert shown(value, form, signed=signed) == told
