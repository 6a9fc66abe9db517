"""Paths of images: those that might leave the folder are told apart from those that cannot."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.ingest.adapters.paths import beneath, is_address, is_bad_path

FINE = ["a.jpg", "train/a.jpg", "a b/ü/…/c.webp", "..a/b..", "a.b/.c", "images/x:y.jpg"]
BAD = [
    "",
    "/a.jpg",
    "../a.jpg",
    "a/../b.jpg",
    "a/..",
    ".",
    "./a.jpg",
    "a//b.jpg",
    "a/",
    "C:/a.jpg",
    "c:a.jpg",
    "a\\b.jpg",
    "..\\a.jpg",
    "file:///a.jpg",
    "https://x/a.jpg",
    "a\x00.jpg",
    "a\nb.jpg",
]


def test_paths_below_the_folder_are_fine() -> None:
    assert is_bad_path(pa.array(FINE)).to_pylist() == [False] * len(FINE)


@pytest.mark.parametrize("path", BAD)
def test_paths_that_could_lead_elsewhere_are_not(path: str) -> None:
    assert is_bad_path(pa.array([path])).to_pylist() == [True]


def test_no_path_is_neither() -> None:
    assert is_bad_path(pa.array([None], pa.string())).to_pylist() == [None]


@given(st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "C:", "b.jpg", " "]), max_size=6).map("/".join))
def test_whatever_passes_stays_below_however_it_is_read(path: str) -> None:
    if not is_bad_path(pa.array([path])).to_pylist()[0]:
        parts = path.replace("\\", "/").split("/")
        assert ".." not in parts and "" not in parts and ":" not in parts[0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://example.org/a.jpg", True),
        ("https://example.org/a/b.jpg?x=1", True),
        ("http://example.org/a.jpg", False),
        ("ftp://example.org/a.jpg", False),
        ("https:///a.jpg", False),
        ("https://example.org/a b", False),
        ("a https://example.org/a.jpg", False),
        ("train/a.jpg", False),
    ],
)
def test_an_address_is_https_with_a_host(address: str, expected: bool) -> None:
    assert is_address(pa.array([address])).to_pylist() == [expected]


def test_a_folder_comes_before_the_path() -> None:
    assert beneath("train", pa.array(["a.jpg", None])).to_pylist() == ["train/a.jpg", None]
    assert beneath("", pa.array(["a.jpg"])).to_pylist() == ["a.jpg"]
