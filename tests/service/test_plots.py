"""Curves and heat-maps: where points land, what is said in words, and that nothing is drawn of nothing."""

from __future__ import annotations

import re

import pytest

from service.dashboard.plots import WIDTH, Level, Line, heat, lines
from training.watch.series import TimeGrid, series_of


def drawn(values: list[float], **more: object) -> str:
    records = [{"step": step, "loss": value} for step, value in enumerate(values)]
    (series,) = series_of(records)
    return str(lines("Loss", [Line("loss", series)], **more))  # type: ignore[arg-type]


def points(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf'class="{kind} first" points="([^"]+)"', svg)
    assert found is not None
    return [(float(x), float(y)) for x, y in (each.split(",") for each in found[1].split())]


def test_a_line_spans_its_box_and_runs_downwards_as_values_fall() -> None:
    (x0, y0), (x1, y1), (x2, y2) = points(drawn([1.0, 0.5, 0.0]), "even")
    assert (x0, x2) == (46, WIDTH - 8)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y0 < y1 < y2
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.11)


def test_what_it_shows_is_said_in_words_and_under_the_pointer() -> None:
    svg = drawn([1.0, 0.5, 0.25])
    assert 'aria-label="Loss, steps 0 to 2. loss 1.000 at first, 0.2500 lately"' in svg
    assert "<title>step 1\nloss 0.5000, smoothed 0.5000</title>" in svg


def test_one_step_is_a_point_and_no_step_is_nothing() -> None:
    assert "circle" in drawn([1.0])
    assert lines("Loss", []) == ""
    assert heat("x", TimeGrid("x", (0.0,), ((None, None),)), centre=0, good_above=True) == ""


def test_a_spike_does_not_flatten_the_rest() -> None:
    values = [0.69 + 0.01 * (i % 3) for i in range(400)]
    heights = [y for _, y in points(drawn([*values[:200], 1e6, *values[200:]]), "raw")]
    calm = [y for _, y in points(drawn(values), "raw")]
    assert max(calm) - min(calm) > 20
    assert min(heights) >= 8


def test_bounds_are_shown_at_least_and_a_level_only_where_it_lies_within() -> None:
    level = Level(0.5, "chance")
    assert "chance" in drawn([0.8, 0.9], level=level, bounds=(0.4, 1.0))
    assert "chance" not in drawn([0.8, 0.9], level=level)


def test_names_from_strangers_are_escaped() -> None:
    (series,) = series_of([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 2.0}])
    assert "<script>" not in lines("<script>", [Line('"><script>', series)])


def test_a_heat_map_colours_the_good_side_and_names_each_cell() -> None:
    grid = TimeGrid("winner_change", (0.0, 10.0), ((-0.2, 0.1), (None, 0.2)))
    svg = str(heat("Winners", grid, centre=0.0, good_above=False))
    cells = re.findall(r'class="cell (\w+)".*?fill-opacity="([\d.]+)"><title>([^<]+)', svg)
    assert cells == [
        ("good", "1.00", "step 0, time 0% to 50%: −0.2000"),
        ("worse", "0.50", "step 0, time 50% to 100%: 0.1000"),
        ("worse", "1.00", "step 10, time 50% to 100%: 0.2000"),
    ]
    # The least noise is at the bottom.
    tops = [float(top) for top in re.findall(r'class="cell \w+" x="[\d.]+" y="([\d.]+)"', svg)]
    assert tops[0] > tops[1]
