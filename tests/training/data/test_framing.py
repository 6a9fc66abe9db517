"""Crops, mirrors and sizes, and what SDXL is told of them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.data.buckets import assign, bucket_sizes
from training.data.framing import Framing, covers, frame, told

sides, shares = st.integers(8, 90), st.floats(0, 1)


def gradient(height: int, width: int) -> Image.Image:
    """Red tells the row and green the column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([rows, columns, 0 * rows], -1).astype(np.uint8))


@given(sides, sides, sides, sides, shares, shares, st.booleans())
def test_a_picture_covers_its_frame_and_its_geometry_lies_in_it(
    height: int, width: int, high: int, wide: int, top: float, left: float, flipped: bool
) -> None:
    framing = Framing((high, wide), (top, left), flipped)
    framed = frame(gradient(height, width), framing)
    assert framed.pixels.shape == (3, high, wide)
    assert framed.geometry == told((height, width), framing)
    covering = covers((height, width), (high, wide))
    original, corner, target = framed.geometry[:2], framed.geometry[2:4], framed.geometry[4:]
    assert original == (height, width) and target == (high, wide)
    assert all(0 <= at <= whole - cut for at, whole, cut in zip(corner, covering, target, strict=True))
    assert covering[0] == high or covering[1] == wide


def test_the_geometry_says_where_the_crop_was_cut_out() -> None:
    """20 × 40 px as 20 × 20: half of the 20 columns that hang over are cut off at either side."""
    framed = frame(gradient(20, 40), Framing((20, 20)))
    assert framed.geometry == (20, 40, 0, 10, 20, 20)
    columns = ((framed.pixels[1, 0] + 1) * 127.5).round().int().tolist()
    assert columns == list(range(10, 30))


def test_a_mirrored_picture_is_told_of_as_it_looks() -> None:
    """Cut at the left edge and mirrored, all 20 columns that hang over lie to the left of what is seen."""
    framed = frame(gradient(20, 40), Framing((20, 20), (0.0, 0.0), True))
    assert framed.geometry == (20, 40, 0, 20, 20, 20)
    columns = ((framed.pixels[1, 0] + 1) * 127.5).round().int().tolist()
    assert columns == list(range(19, -1, -1))


@given(sides, sides, shares, shares, st.booleans())
def test_pictures_of_two_sizes_are_cut_at_the_same_place(
    height: int, width: int, top: float, left: float, flipped: bool
) -> None:
    """A picture and one of twice its size are cut at the same share of what hangs over, to within rounding."""
    framing = Framing((16, 16), (top, left), flipped)
    small, large = (told((scale * height, scale * width), framing) for scale in (1, 2))
    assert abs(small[2] - large[2]) <= 1 and abs(small[3] - large[3]) <= 1


def test_mirroring_changes_nothing_but_the_side() -> None:
    one, other = (frame(gradient(30, 50), Framing((16, 24), (0.3, 0.5), flipped)) for flipped in (False, True))
    assert torch.equal(one.pixels.flip(-1), other.pixels)


@given(st.sampled_from([(512, 64), (768, 64), (1024, 64), (32, 4), (64, 32)]))
def test_buckets_are_of_equal_area_within_a_step(asked: tuple[int, int]) -> None:
    side, step = asked
    sizes = bucket_sizes(side, step)
    assert (side, side) in sizes and len(set(sizes)) == len(sizes)
    for height, width in sizes:
        assert height % step == 0 == width % step
        assert 0 <= side * side - height * width < min(height, width) * step
        assert (width, height) in sizes
        assert 1 / 4 <= width / height <= 4


def test_buckets_worked_by_hand() -> None:
    """512² / 448 = 585.1, so 9 steps of 64; / 384 = 682.7, so 10; / 320 = 819.2, so 12; / 256 = 1024, so 16."""
    tall = ((1024, 256), (768, 320), (640, 384), (576, 448))
    wide = tuple((width, height) for height, width in reversed(tall))
    assert bucket_sizes(512, 64) == (*tall, (512, 512), *wide)
    # Sizes that SDXL is commonly asked for.
    assert {(1024, 1024), (832, 1216), (896, 1152), (1216, 832), (768, 1344)} <= set(bucket_sizes(1024, 64))


@given(sides, sides)
def test_a_picture_gets_the_bucket_nearest_in_proportion(height: int, width: int) -> None:
    sizes = bucket_sizes(512, 64)
    (found,) = assign(sizes, np.array([[height, width]])).tolist()
    off = [abs(np.log(w / h) - np.log(width / height)) for h, w in sizes]
    assert off[found] <= min(off) + 1e-9
