"""Cursors: only ours, only for their query."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.errors import StoreError
from ranking.store.blobs import Store
from service.cursors import KEY, cursor_key, sign, verify
from service.problems import ApiProblem

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = plain | st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=5), plain, max_size=3)


@given(key=st.binary(min_size=32, max_size=32), query=json_values, position=json_values)
def test_a_cursor_gives_back_its_position_for_its_own_query(key: bytes, query: Any, position: Any) -> None:
    cursor = sign(key, query, position)
    assert verify(key, query, cursor) == position
    assert cursor.replace("-", "").replace("_", "").isalnum(), "it stands in URLs as it is"


@given(position=json_values, at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_bit_of_a_cursor_can_be_changed(position: Any, at: int, bit: int) -> None:
    cursor = sign(b"k" * 32, "query", position)
    raw = bytearray(cursor.encode())
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises(ApiProblem) as caught:
        verify(b"k" * 32, "query", raw.decode("latin-1"))
    assert caught.value.code == "cursor-mismatch"


@given(query=json_values, other=json_values)
def test_a_cursor_is_refused_for_another_query(query: Any, other: Any) -> None:
    cursor = sign(b"k" * 32, query, 1)
    if repr(query) != repr(other):  # 1 == True == 1.0 in Python, not in JSON
        with pytest.raises(ApiProblem):
            verify(b"k" * 32, [other, "another"], cursor)
    with pytest.raises(ApiProblem):
        verify(b"x" * 32, query, cursor)


@given(text=st.text(max_size=200))
def test_a_text_that_we_did_not_make_is_refused(text: str) -> None:
    with pytest.raises(ApiProblem):
        verify(b"k" * 32, "query", text)


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first = cursor_key(store)
    assert len(first) == 32
    assert cursor_key(Store.open(tmp_path)) == first
    assert stat.S_IMODE(store.local(KEY).stat().st_mode) == 0o600
    assert not [path for path in store.tmp().iterdir() if path.is_file()]


def test_a_damaged_key_is_an_error_and_not_a_weak_key(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put_if_absent(KEY, b"")
    with pytest.raises(StoreError, match="damaged"):
        cursor_key(store)
