"""Numbers, hidden characters, histogram bins and chart geometry, each against values worked by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_factory import Site

from ranking.store.blobs import Store
from service.browse import Listing, parse_listing
from service.dashboard.charts import wings
from service.dashboard.environment import STATIC
from service.dashboard.evaluations import read_evaluation
from service.dashboard.text import code, duration, moment, number, size, visible
from service.dashboard.urls import State, read_form, read_state
from service.histograms import _edges, histogram


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.2500"),
        (-1.5, "−1.500"),
        (21.337, "21.34"),
        (0.0, "0.00"),
        (1234567, "1,234,567"),
        (0.00001, "1.00e-05"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_a_number_reads_well(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_gap_carries_its_sign() -> None:
    assert (number(0.5, signed=True), number(-0.5, signed=True), number(0.0, signed=True)) == (
        "+0.5000",
        "−0.5000",
        "0.00",
    )


@given(st.text())
def test_visible_text_holds_no_hidden_character_and_loses_nothing(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & set("\u202e\u202d\u200b\u2066\u2069\x00\x1b\u2028\ufeff")
    if text.isascii() and text.isprintable():
        assert shown == text


def test_hidden_characters_are_spelled_out_and_joined_emoji_kept() -> None:
    assert visible("a\u202eb\x07\ufeff") == "a[U+202E]b[U+0007][U+FEFF]"
    assert visible("👩\u200d🚀 line\nline") == "👩\u200d🚀 line\nline"


def test_code_is_marked_and_still_escaped() -> None:
    assert code("a `<b>` & <i> `c") == "a <code>&lt;b&gt;</code> &amp; &lt;i&gt; <code>c</code>"


def test_a_moment_is_utc_to_the_minute() -> None:
    assert moment("2026-11-20T22:03:59.123456+00:00") == "2026-11-20 22:03 UTC"
    assert (moment(None), moment("soon")) == ("–", "soon")


def listing(site: Site, *filters: tuple[str, str]) -> Listing:
    view = site.client.app.state.parts.snapshots.view  # type: ignore[attr-defined]
    return parse_listing(view, view.tables["toy"], filters=filters, sort=None)


def test_a_histogram_counts_every_pair_once(site: Site) -> None:
    found = histogram(listing(site, ("votes", "2")), "alpha.gap")
    pairs = site.client.get("/v1/pairs?dataset=toy&limit=500").json()["items"]
    gaps = [(pair["scores"]["alpha"]["gap"], pair["votes"] == 2) for pair in pairs]
    known = [(gap, kept) for gap, kept in gaps if gap is not None]
    assert found.nulls == len(gaps) - len(known) == 20
    for each in found.bins:
        inside = [
            kept
            for gap, kept in known
            if (each.low is None or gap >= each.low) and (each.high is None or gap < each.high)
        ]
        assert (each.total, each.selected) == (len(inside), sum(inside))
    assert sum(each.total for each in found.bins) == len(known)


def test_a_histogram_of_counts_has_a_bin_for_each(site: Site) -> None:
    found = histogram(listing(site), "votes")
    lows = [each.low for each in found.bins if each.low is not None]
    assert all(float(low).is_integer() for low in lows)
    assert sum(each.total for each in found.bins) == 60


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), most=st.integers(4, 60), whole=st.booleans())
def test_edges_cover_the_range_with_readable_steps(low: float, span: float, most: int, whole: bool) -> None:
    high = low + span
    edges = _edges(low, high, most=most, whole=whole)
    assert edges[0] <= low + span * 1e-9
    assert edges[-1] >= high - span * 1e-9
    assert edges == sorted(set(edges))
    assert len(edges) <= most + 3


def test_wings_are_on_the_scorers_own_scale() -> None:
    drawn = wings(0.25, 0.75, (0.0, 1.0))
    assert drawn is not None
    assert (drawn.left, drawn.right) == (0.25, 0.75)
    clamped = wings(-5.0, 5.0, (0.0, 1.0))
    assert clamped is not None
    assert (clamped.left, clamped.right) == (0.02, 1.0)
    assert wings(None, 1.0, (0.0, 1.0)) is None
    assert wings(0.5, 0.5, None) is None
    flat = wings(3.0, 3.0, (3.0, 3.0))
    assert flat is not None
    assert flat.left == flat.right == 0.5


def test_a_span_of_time_has_its_two_largest_units() -> None:
    found = [duration(seconds) for seconds in (0.4, 59, 61, 3600, 3 * 3600 + 120, 90_000)]
    assert found == ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "3 h 2 min", "1 d 1 h"]


def test_bytes_have_one_to_three_digits_before_the_point() -> None:
    assert [size(count) for count in (512, 20_480, 1.5e6, 8.0e10)] == ["512 B", "20.5 kB", "1.5 MB", "80 GB"]
    assert [size(count) for count in (7.21e12, 2e15)] == ["7.21 TB", "2 PB"]


def test_an_evaluation_of_another_shape_is_listed_as_it_is(tmp_path: Path) -> None:
    for odd in ({"judges": "none"}, {"judges": [1]}, {"judges": [{"rate": 2, "low": 0, "high": 1}]}, {"judges": []}):
        shown = read_evaluation(Store.open(tmp_path), {"score": 1, **odd})
        assert shown.judges == []
        assert shown.rest == [("score", 1), ("judges", odd["judges"])]


names = st.sampled_from(["alpha.gap", "alpha.0__gte", "prompt", "prompt__in", "is_tie", "votes__isnull"])
values = st.text(min_size=1, max_size=20)


@given(
    state=st.builds(
        State,
        dataset=st.none() | values,
        sort=st.none() | values,
        hist=st.none() | values,
        blind=st.booleans(),
        cursor=st.none() | values,
        filters=st.lists(st.tuples(names, values), max_size=4).map(tuple),
    )
)
def test_a_url_holds_the_whole_state(state: State) -> None:
    from urllib.parse import parse_qsl, urlsplit

    pairs = parse_qsl(urlsplit(state.url()).query, keep_blank_values=True)
    assert read_state(pairs) == state
    assert read_form(pairs) is None


def tokens(css: str) -> list[dict[str, str]]:
    """The colours that each block of the style sheet defines."""
    blocks = re.findall(r"\{([^{}]*--paper:[^{}]*)\}", css)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two sRGB colours, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the standard's well-known near miss


def test_both_themes_have_enough_contrast() -> None:
    light, dark, chosen_dark = tokens((STATIC / "app.css").read_text())
    assert dark == chosen_dark, "the toggle and the system's preference give the same theme"
    for theme in (light, dark):
        for ground in ("paper", "card", "sunk"):
            for ink in ("ink", "soft", "accent"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
        for ink, ground in (("good", "good-wash"), ("bad", "bad-wash"), ("accent", "accent-wash"), ("good", "card")):
            assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
        assert contrast(theme["bad"], theme["card"]) >= 4.5
        assert contrast(theme["accent-ink"], theme["accent"]) >= 4.5
        # Lines and shapes that carry meaning.
        for shape in ("edge", "bar", "good"):
            assert contrast(theme[shape], theme["card"]) >= 3, shape
        assert contrast(theme["bar"], theme["bar-faint"]) >= 1.5
