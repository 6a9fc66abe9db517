"""Styles: the same pixels anywhere, and what each of them claims."""

import numpy as np
import pytest

from ranking.errors import UnknownNameError
from training.style.transforms import STYLES, style
from training.toyworld.world import perfect, render, train_scenes

PICTURES = np.concatenate([render(perfect(scene)) for scene in train_scenes()[::20]])


@pytest.mark.parametrize("name", STYLES)
def test_a_style_keeps_the_shape_and_gives_the_same_pixels_every_time(name: str) -> None:
    paint = style(name)
    for image in PICTURES[:2]:
        assert paint(image).shape == image.shape and paint(image).dtype == np.uint8
        assert np.array_equal(paint(image), paint(image.copy()))
        assert np.abs(paint(image).astype(float) - image).mean() > 5
    tall = np.ascontiguousarray(PICTURES[0][:, 8:40])
    assert paint(tall).shape == tall.shape


def test_a_sketch_has_no_colour_is_mostly_white_and_dark_where_the_outline_was() -> None:
    drawn = style("sketch")(PICTURES[0])
    assert np.ptp(drawn, axis=2).max() == 0
    assert np.median(drawn) > 190 and drawn.min() < 80
    # On plain paper there is nothing to draw.
    assert style("sketch")(np.full((64, 64, 3), 200, np.uint8)).min() > 180


def test_winter_is_bluer_paler_and_white_at_the_bottom() -> None:
    before, after = PICTURES.astype(float), np.stack([style("winter")(image) for image in PICTURES]).astype(float)
    blue = [(each[..., 2] - each[..., 0]).mean() for each in (before, after)]
    colourful = [np.ptp(each, axis=3).mean() for each in (before, after)]
    assert blue[1] > blue[0] + 10 and colourful[1] < colourful[0]
    assert after[:, -2:].mean() > 215


def test_van_goghs_strokes_follow_the_edges() -> None:
    # Left half dark, right half light: strokes near the edge run along it, so columns differ and rows hardly do.
    halves = np.full((64, 64, 3), 60, np.uint8)
    halves[:, 32:] = 190
    near = style("van-gogh")(halves).astype(float).mean(2)[8:56, 26:38]
    along, across = np.abs(np.diff(near, axis=0)).mean(), np.abs(np.diff(near[:, :5], axis=1)).mean()
    assert along < across


def test_an_unknown_style_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="sketsh"):
        style("sketsh")


def test_pixels_of_each_version_are_what_they_were() -> None:
    """A transform that changes must raise its version: these are means over a fixed picture, as first written."""
    found = {each.id: float(each(PICTURES[3]).mean()) for each in STYLES.values()}
    assert found == pytest.approx({"sketch@1": 189.1, "winter@1": 124.1, "van-gogh@1": 59.0}, abs=0.3)
