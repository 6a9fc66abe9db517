"""Ratings: what one must have to be taken."""

import math

import pyarrow as pa
import pytest

from ranking.ingest.raw import BAD_RATING, BLANK_PROMPT, LONG_PROMPT, LONG_TEXT, MISSING_IMAGE, RATINGS, ratings


def reason_of(uid: str | None = "x", prompt: str | None = "a cat", value: float | None = 0.5) -> str | None:
    columns = {
        "row": pa.array([0]),
        "image_uid": pa.array([uid], pa.string()),
        "prompt": pa.array([prompt], pa.string()),
        "name": pa.array(["overall"]),
        "value": pa.array([value], pa.float64()),
    }
    batch = ratings(columns)
    assert batch.schema.equals(RATINGS)
    return batch["reason"][0].as_py()


def test_a_rating_needs_no_prompt_but_an_image_and_a_finite_value() -> None:
    assert reason_of() is None
    assert reason_of(prompt=None) is None
    assert (reason_of(uid=None), reason_of(uid="")) == (MISSING_IMAGE, MISSING_IMAGE)
    assert {reason_of(value=value) for value in (None, math.nan, math.inf, -math.inf)} == {BAD_RATING}
    assert reason_of(prompt="  ") == BLANK_PROMPT
    assert (reason_of(prompt="x" * 8193), reason_of(uid="x" * 1025)) == (LONG_PROMPT, LONG_TEXT)


def test_reasons_of_the_adapter_come_first_and_unknown_columns_are_refused() -> None:
    columns = {"row": pa.array([0]), "value": pa.array([1.0])}
    assert ratings(columns, reasons={"odd": pa.array([True])})["reason"].to_pylist() == ["odd"]
    with pytest.raises(ValueError, match="colour"):
        ratings({**columns, "colour": pa.array(["red"])})
