"""Filters mean what they say, cannot carry SQL, and pages put together are the whole result."""

import json
import math
import operator
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking import duck
from ranking.errors import UnknownNameError, UsageError
from ranking.features.fields import Field
from ranking.query import (
    MAX_LEAVES,
    And,
    Leaf,
    Not,
    Or,
    compile_filter,
    page,
    parse_filter,
    parse_url_filters,
)

FIELDS = {
    field.name: field
    for field in (
        Field("pair_id", "text", "id"),
        Field("prompt", "text", "words"),
        Field("s.gap", "number", "gap"),
        Field("votes", "number", "count"),
        Field("is_tie", "boolean", "tie"),
        Field("created_at", "time", "when"),
    )
}
SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt", pa.string()),
        ("s.gap", pa.float64()),
        ("votes", pa.int32()),
        ("is_tie", pa.bool_()),
        ("created_at", pa.timestamp("us")),
    ]
)
START = datetime(2024, 1, 1)

numbers = st.sampled_from([-1.5, -0.0, 0.0, 0.1, 2.0, 7.0])
words = st.sampled_from(["", "a", "b", "it's", 'x"y', "é", "a;--"])
moments = st.integers(0, 4).map(lambda days: START + timedelta(days=days))
values = {
    "prompt": words,
    "s.gap": numbers,
    "votes": st.integers(0, 3),
    "is_tie": st.booleans(),
    "created_at": moments,
}
records = st.fixed_dictionaries({name: st.none() | value for name, value in values.items()})
tables = st.lists(records, max_size=25)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """One connection for all: opening one costs more than a test."""
    with duck.connect(threads=1) as opened:
        fill(opened, [])
        yield opened


def fill(con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    numbered = [{"pair_id": f"{(i * 7) % 101:03d}"} | row for i, row in enumerate(rows)]
    con.register("pairs", pa.Table.from_pylist(numbered, schema=SCHEMA))


@st.composite
def leaves(draw: st.DrawFn) -> Leaf:
    name = draw(st.sampled_from(sorted(values)))
    op = draw(st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "in", "isnull"]))
    if op == "isnull":
        return Leaf(field=name, op=op, value=draw(st.booleans()))
    value = values[name].map(lambda v: v.isoformat() if isinstance(v, datetime) else v)
    return Leaf(field=name, op=op, value=draw(st.lists(value, min_size=1, max_size=3) if op == "in" else value))


filters = st.recursive(
    leaves(),
    lambda part: st.one_of(
        st.builds(lambda parts: And(parts=parts), st.lists(part, min_size=1, max_size=3)),
        st.builds(lambda parts: Or(parts=parts), st.lists(part, min_size=1, max_size=3)),
        st.builds(lambda one: Not(part=one), part),
    ),
    max_leaves=8,
)

COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def holds(node: Any, row: dict[str, Any]) -> bool | None:
    """The oracle: three-valued logic, None for "unknown"."""
    if isinstance(node, Not):
        inner = holds(node.part, row)
        return None if inner is None else not inner
    if isinstance(node, And | Or):
        found = [holds(part, row) for part in node.parts]
        decisive = isinstance(node, Or)
        if decisive in found:
            return decisive
        return None if None in found else not decisive
    cell = row[node.field]
    if node.op == "isnull":
        return (cell is None) == node.value
    if cell is None:
        return None
    wanted = [datetime.fromisoformat(v) if node.field == "created_at" else v for v in as_list(node.value)]
    # DuckDB compares text by UTF-8 bytes, which for these words is Python's order of code points.
    return cell in wanted if node.op == "in" else COMPARE[node.op](cell, wanted[0])


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@settings(max_examples=100)
@given(rows=tables, node=filters)
def test_a_filter_keeps_what_a_plain_reading_keeps(
    con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], node: Any
) -> None:
    condition, params = compile_filter(node, FIELDS)
    fill(con, rows)
    kept = duck.arrow(con, f"SELECT * FROM pairs WHERE {condition}", params)
    expected = [row for row in rows if holds(node, row) is True]
    key = lambda row: json.dumps(row, default=str, sort_keys=True)  # noqa: E731
    assert sorted(map(key, kept.drop_columns(["pair_id"]).to_pylist())) == sorted(map(key, expected))


@settings(max_examples=60)
@given(node=filters)
def test_a_filter_survives_json(node: Any) -> None:
    tree = json.loads(node.model_dump_json(by_alias=True))
    assert compile_filter(parse_filter(tree), FIELDS) == compile_filter(node, FIELDS)


@settings(max_examples=80)
@given(text=st.text(max_size=30))
def test_no_value_ever_reaches_the_sql_text(text: str) -> None:
    condition, params = compile_filter(parse_filter({"field": "prompt", "op": "eq", "value": text}), FIELDS)
    assert (condition, params) == ('("prompt" = ?)', [text])


@pytest.mark.parametrize(
    "name", ["prompt; DROP TABLE pairs", 'prompt" OR 1=1 --', "PROMPT", "read_text('/etc/passwd')"]
)
def test_a_field_that_is_not_listed_is_refused(con: duckdb.DuckDBPyConnection, name: str) -> None:
    with pytest.raises(UnknownNameError):
        compile_filter(parse_filter({"field": name, "value": "x"}), FIELDS)
    with pytest.raises(UnknownNameError):
        page(con, "pairs", columns=FIELDS, sort=name)


def test_a_misspelled_field_gets_its_near_match() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean s\.gap"):
        compile_filter(Leaf(field="s.gp", value=1), FIELDS)


@pytest.mark.parametrize(
    "tree",
    [
        {"field": "votes", "value": "3"},
        {"field": "votes", "value": True},
        {"field": "votes", "op": "eq", "value": [1]},
        {"field": "votes", "op": "in", "value": 1},
        {"field": "votes", "op": "in", "value": []},
        {"field": "votes", "op": "in", "value": list(range(1001))},
        {"field": "votes", "op": "isnull", "value": 1},
        {"field": "votes", "value": 10**30},
        {"field": "s.gap", "value": math.nan},
        {"field": "s.gap", "value": math.inf},
        {"field": "is_tie", "value": 1},
        {"field": "prompt", "value": 1},
        {"field": "created_at", "value": "yesterday"},
        {"field": "votes", "op": "like", "value": 1},
        {"field": "votes"},
        {"field": "votes", "value": 1, "extra": 1},
        {"and": []},
        {"and": {"field": "votes", "value": 1}},
        {"or": [{"field": "votes", "value": 1}], "and": []},
        {"not": [{"field": "votes", "value": 1}]},
        [],
        "votes = 1",
        None,
        7,
    ],
)
def test_a_filter_that_does_not_fit_is_a_usage_error(tree: Any) -> None:
    with pytest.raises(UsageError) as caught:
        compile_filter(parse_filter(tree), FIELDS)
    assert "\n" not in str(caught.value)


def test_depth_and_size_are_bounded() -> None:
    leaf: dict[str, Any] = {"field": "votes", "value": 1}
    tree = leaf
    for _ in range(5):
        tree = {"not": tree}
    parse_filter(tree)
    with pytest.raises(UsageError, match="deeper than 6"):
        parse_filter({"not": tree})
    parse_filter({"or": [leaf] * MAX_LEAVES})
    with pytest.raises(UsageError, match="more than 64"):
        parse_filter({"or": [leaf] * (MAX_LEAVES + 1)})
    bomb: dict[str, Any] = leaf
    for _ in range(100_000):
        bomb = {"and": [bomb]}
    with pytest.raises(UsageError, match="deeper than 6"):
        parse_filter(bomb)


def test_url_filters_are_read_by_the_kind_of_their_field() -> None:
    node = parse_url_filters(
        [
            ("s.gap__gte", "0.1"),
            ("is_tie", "false"),
            ("prompt__in", "a,b"),
            ("votes__isnull", "true"),
            ("created_at__lt", "2024-01-02T01:00:00+01:00"),
        ],
        FIELDS,
    )
    assert compile_filter(node, FIELDS) == (
        '(("s.gap" >= ?) AND ("is_tie" = ?) AND ("prompt" IN (?, ?)) AND ("votes" IS NULL) AND ("created_at" < ?))',
        [0.1, False, "a", "b", datetime(2024, 1, 2)],
    )
    assert parse_url_filters([], FIELDS) is None


@pytest.mark.parametrize(
    "pair",
    [
        ("s.gap__gte", "0x10"),
        ("s.gap__gte", "nan"),
        ("s.gap__gte", "1_0"),
        ("s.gap__gte", ""),
        ("is_tie", "maybe"),
        ("votes__isnull", "yes"),
        ("votes__like", "1"),
        ("nothing__eq", "1"),
        ("created_at__gt", "soon"),
    ],
)
def test_a_url_filter_that_does_not_fit_is_a_usage_error(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        compile_filter(parse_url_filters([pair], FIELDS), FIELDS)


@settings(max_examples=80)
@given(
    rows=tables,
    sort=st.sampled_from(sorted(FIELDS)),
    descending=st.booleans(),
    limit=st.integers(1, 7),
    node=st.none() | filters,
)
def test_pages_put_together_are_the_whole_sorted_result(
    con: duckdb.DuckDBPyConnection,
    rows: list[dict[str, Any]],
    sort: str,
    descending: bool,
    limit: int,
    node: Any,
) -> None:
    fill(con, rows)
    collected: list[dict[str, Any]] = []
    after: tuple[Any, str] | None = None
    while True:
        found = page(
            con, "pairs", columns=FIELDS, filter=node, sort=sort, descending=descending, after=after, limit=limit
        )
        assert found.rows.num_rows <= limit
        collected += found.rows.to_pylist()
        if found.next_after is None:
            break
        assert found.rows.num_rows == limit
        after = json.loads(json.dumps(found.next_after, default=datetime.isoformat))
    everything = duck.arrow(con, "SELECT * FROM pairs").to_pylist()
    kept = [row for row in everything if node is None or holds(node, row) is True]
    by_id = sorted(kept, key=lambda row: row["pair_id"])
    valued = sorted((row for row in by_id if row[sort] is not None), key=lambda row: row[sort], reverse=descending)
    if descending:  # Python's reverse keeps equal rows in order, which is what we promise
        assert [row[sort] for row in valued] == sorted((row[sort] for row in valued), reverse=True)
    assert collected == [*valued, *(row for row in by_id if row[sort] is None)]


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_page_has_a_bounded_size(con: duckdb.DuckDBPyConnection, limit: int) -> None:
    with pytest.raises(UsageError, match="page cannot have"):
        page(con, "pairs", columns=FIELDS, limit=limit)


def test_a_position_of_the_wrong_kind_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UsageError):
        page(con, "pairs", columns=FIELDS, sort="votes", after=("three", "001"))
    with pytest.raises(UsageError):
        page(con, "pairs", columns=FIELDS, sort="votes", after=(3, 1))  # type: ignore[arg-type]
