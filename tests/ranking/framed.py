"""Measures metrics over pairs that are made up in a test, so that numbers can be worked out by hand."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from ranking import duck
from ranking.metrics.frame import Frame
from ranking.metrics.spec import MetricSpec

_KEYS = {"pair_id": pa.string(), "prompt_id": pa.string(), "image_0_uid": pa.string(), "image_1_uid": pa.string()}


def measured(
    spec: dict[str, Any], pairs: Sequence[dict[str, Any]], *, winner: str = "winner", seed: int = 0, threads: int = 1
) -> list[float | None]:
    """The metric of each pair, in their order. `u0` and `u1` are short for the images' uids; other keys are columns, an
    integer being a number as any."""
    short = {"u0": "image_0_uid", "u1": "image_1_uid"}
    rows = [{short.get(name, name): value for name, value in pair.items()} for pair in pairs]
    schema = pa.schema([(name, _KEYS.get(name) or _kind([row[name] for row in rows])) for name in rows[0]])
    table = pa.Table.from_pylist(rows, schema=schema).append_column("place", pa.array(range(len(rows))))
    with duck.connect(threads=threads) as con:
        con.register("wide", table)
        frame = Frame(con, "wide", winner=winner, seed=seed)
        value = MetricSpec.model_validate(spec).expression(frame)
        return duck.arrow(con, f"SELECT {value} AS metric {frame.source()} ORDER BY place")["metric"].to_pylist()


def close(expected: Sequence[float | None]) -> Any:
    """Equal to twelve places."""
    return [None if value is None else pytest.approx(value, abs=1e-12) for value in expected]


def _kind(values: list[Any]) -> pa.DataType:
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, bool) for value in given):
        return pa.bool_()
    return pa.string() if given and all(isinstance(value, str) for value in given) else pa.float64()
