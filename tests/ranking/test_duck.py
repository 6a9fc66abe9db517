"""DuckDB connections load nothing, see no Python variable and cannot be loosened."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ranking import duck


def test_python_variables_are_not_tables() -> None:
    secret = pa.table({"a": [1]})
    with duck.connect() as con, pytest.raises(duckdb.CatalogException):
        con.sql("SELECT * FROM secret").fetchall()
    assert secret.num_rows == 1


@pytest.mark.parametrize("statement", ["SET threads=1", "SET autoload_known_extensions=true", "RESET TimeZone"])
def test_a_connection_can_not_be_loosened(statement: str) -> None:
    with duck.connect() as con, pytest.raises(duckdb.InvalidInputException, match="locked"):
        con.execute(statement)


def test_names_and_texts_are_quoted() -> None:
    with duck.connect() as con:
        name, text = 'a"b.gap', "it's"
        rows = con.sql(f"SELECT {duck.literal(text)} AS {duck.identifier(name)}")
        assert (rows.columns, rows.fetchall()) == ([name], [(text,)])


def test_a_scan_takes_an_explicit_list_and_no_pattern() -> None:
    with pytest.raises(ValueError, match="pattern"):
        duck.parquet_scan([Path("/data/*.parquet")])
    with pytest.raises(ValueError, match="at least one"):
        duck.parquet_scan([])
