"""Names, canonical JSON and error lines: the spelling that keys and messages rely on."""

import pickle

import pytest

from ranking.errors import NotFoundError, PairsieveError, StoreError, UnknownNameError, UsageError
from ranking.names import (
    canonical_json,
    check_id,
    check_name,
    check_scorer_id,
    nulls_for_nan,
    parse_json,
    scorer_name,
    utc_now,
)


@pytest.mark.parametrize("name", ["a", "pickapic-v2", "hpsv2.1", "0_x", "a" * 64])
def test_plain_names_are_allowed(name: str) -> None:
    assert check_name("dataset", name) == name


@pytest.mark.parametrize(
    "name", ["", "A", ".hidden", "-x", "a/b", "..", "a b", "a" * 65, "nul", "con.txt", "com1", "a\n", "é", "a\0"]
)
def test_names_that_could_climb_hide_or_be_a_device_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name("dataset", name)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["a", "a@", "@00000000", "a@0000000", "a@0000000g", "A@00000000", "a@00000000@0"])
def test_a_scorer_id_is_a_name_and_a_fingerprint(value: str) -> None:
    with pytest.raises(UsageError):
        check_scorer_id(value)


def test_the_name_of_a_scorer_id_may_have_dots() -> None:
    assert scorer_name("hpsv2.1@0123456789ab") == "hpsv2.1"


@pytest.mark.parametrize("value", ["", "..", "0123", "0123456789ag", "0" * 65])
def test_ids_are_hex_digits(value: str) -> None:
    with pytest.raises(UsageError):
        check_id("job", value)


def test_equal_values_have_equal_canonical_bytes() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ψ"}) == '{"a":"ψ","b":[1,2.5]}'.encode()
    assert canonical_json({"x": 1, "y": 2}) == canonical_json({"y": 2, "x": 1})


def test_what_json_has_no_number_for_is_null_at_any_depth() -> None:
    value = {"a": float("nan"), "b": (1.5, [float("-inf")]), "c": {"d": "nan", "e": True, "f": 0}}
    assert nulls_for_nan(value) == {"a": None, "b": [1.5, [None]], "c": {"d": "nan", "e": True, "f": 0}}


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"score": float("nan")})


def test_damaged_json_is_a_store_error_that_names_the_key() -> None:
    with pytest.raises(StoreError, match=r"plans/x\.json"):
        parse_json(b'{"half', where="plans/x.json")


def test_times_sort_as_text_and_are_utc() -> None:
    first, second = utc_now(), utc_now()
    assert first <= second
    assert first.endswith("+00:00")


def test_an_error_is_one_line_with_the_next_step() -> None:
    error = UsageError("two\nlines", hint="do\n this")
    assert str(error) == "two lines; do this"
    assert (error.code, error.exit_code) == ("usage", 2)
    assert NotFoundError("no such thing").exit_code == 1


def test_an_unknown_name_gets_its_near_matches() -> None:
    error = UnknownNameError.among("scorer", "pickscore-v2", ["pickscore-v1", "clip-l14"])
    assert str(error) == "unknown scorer 'pickscore-v2'; did you mean pickscore-v1"
    assert "clip-l14, pickscore-v1" in str(UnknownNameError.among("scorer", "zzz", ["pickscore-v1", "clip-l14"]))
    assert "no scorer yet" in str(UnknownNameError.among("scorer", "zzz", []))


def test_errors_survive_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(StoreError("gone", hint="look", code="damaged")))
    assert isinstance(error, PairsieveError)
    assert (str(error), error.code) == ("gone; look", "damaged")
