"""JSON files read in pieces: the same objects as the standard library's reader gives, or one clear error."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranking.errors import SourceError
from ranking.ingest.adapters import documents as documents_module
from ranking.ingest.adapters.documents import documents, first_object
from ranking.ingest.sources import SourceFile

LEAVES = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | st.text(max_size=6)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner))
OBJECTS = st.dictionaries(st.text(max_size=3), LEAVES | TREES, max_size=3)
SMALL = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def found(folder: Path, text: str | bytes) -> list[dict[str, Any]]:
    path = folder / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    file = SourceFile(str(path), str(folder), path.stat().st_size)
    return [item for batch in documents(file) for item in batch.objects]


@pytest.fixture(params=[1, 7, 1_000_000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many characters are read at once: a window's edge may fall anywhere."""
    monkeypatch.setattr(documents_module, "_CHUNK", request.param)
    return int(request.param)


@SMALL
@given(st.lists(OBJECTS, max_size=5), st.sampled_from([None, 2]))
def test_an_array_gives_its_objects(chunk: int, tmp_path: Path, rows: list[dict[str, Any]], indent: int | None) -> None:
    assert found(tmp_path, json.dumps(rows, indent=indent)) == rows


@SMALL
@given(st.lists(OBJECTS, min_size=1, max_size=5))
def test_lines_of_objects_give_the_same(chunk: int, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert found(tmp_path, "\n".join(json.dumps(row) for row in rows)) == rows


@SMALL
@given(st.text(alphabet='[]{}":,0123456789.eE+-ntfu \\\n', max_size=40) | st.text(max_size=20))
def test_any_text_gives_objects_or_one_error(tmp_path: Path, text: str) -> None:
    try:
        rows = found(tmp_path, text)
    except SourceError as error:
        assert error.code == "source-not-json"
    else:
        assert all(isinstance(row, dict) for row in rows)


@SMALL
@given(st.binary(max_size=60))
def test_any_bytes_give_objects_or_one_error(tmp_path: Path, data: bytes) -> None:
    try:
        found(tmp_path, b"[" + data)
    except SourceError as error:
        assert error.code == "source-not-json"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"a": 1}, {"a": 2}', "row 2"),
        ('[{"a": 1} {"a": 2}]', "a comma is missing"),
        ('[{"a": 1}] {"a": 2}', "something follows"),
        ('[{"a": 1}, 2]', "row 1"),
        ('[{"a": 1}, {"a": ', "row 1"),
        ("[" * 100_000, "not an object"),
        ('[{"a": ' + "[" * 100_000, "nested too deeply"),
        (b'[{"a": "\xff"}]', "utf-8"),
        ("words", "row 0"),
    ],
)
def test_what_is_no_array_of_objects_is_refused_with_its_row(tmp_path: Path, text: str | bytes, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        found(tmp_path, text)


def test_an_object_without_end_is_given_up_before_the_file_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "MAX_OBJECT", 1_000)
    monkeypatch.setattr(documents_module, "_CHUNK", 100)
    with pytest.raises(SourceError, match="more than 1000 characters"):
        found(tmp_path, '[{"a": "' + "x" * 1_000_000)


def test_a_byte_order_mark_and_an_empty_array_are_fine(tmp_path: Path) -> None:
    assert found(tmp_path, b'\xef\xbb\xbf[{"a": 1}]') == [{"a": 1}]
    assert found(tmp_path, " [ ] ") == []
    assert found(tmp_path, "") == []


def test_fields_of_the_wrong_kind_are_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [{"v": 1.5}, {"v": "x"}, {"v": True}, {"v": [1]}, {"v": None}, {}, {"v": 7}]
    text = json.dumps(rows)[:-1] + ', {"v": "\\ud800"}, {"v": ' + "9" * 5_000 + "}]"
    path.write_text(text)
    (batch,) = documents(SourceFile(str(path), str(tmp_path), len(text)))
    assert batch.rows.to_pylist() == list(range(9))
    assert batch.text("v").to_pylist() == [None, "x", None, None, None, None, "7", None, None]
    assert batch.number("v").to_pylist() == [1.5, None, None, None, None, None, 7.0, None, float("inf")]


def test_lists_are_taken_by_place_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"v": ["a", "b"]}, {"v": ["a"]}, {"v": "ab"}, {"v": ["a", 1.5]}]))
    (batch,) = documents(SourceFile(str(path), str(tmp_path), 1))
    assert [place.to_pylist() for place in batch.texts("v", 2)] == [["a", None, None, "a"], ["b", None, None, None]]
    assert [place.to_pylist() for place in batch.numbers("v", 2)] == [[None] * 4, [None, None, None, 1.5]]


def test_batches_are_bounded_by_objects_and_by_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"v": "x" * 90}] * 10))
    file = SourceFile(str(path), str(tmp_path), 1)
    monkeypatch.setattr(documents_module, "BATCH_ROWS", 4)
    assert [batch.rows.to_pylist() for batch in documents(file)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    monkeypatch.setattr(documents_module, "_BATCH_CHARACTERS", 150)
    assert [len(batch.objects) for batch in documents(file)] == [2] * 5


def test_the_first_object_or_why_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    expected: dict[str, dict[str, int] | str] = {
        '[{"a": 1}, oops': {"a": 1},
        "[]": "it has no rows",
        "PAR1": "it does not begin as JSON objects do",
    }
    for text, answer in expected.items():
        path.write_text(text)
        assert first_object(SourceFile(str(path), str(tmp_path), len(text))) == answer
