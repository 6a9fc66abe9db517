"""Every image becomes a picture by one colour policy, or one of our statuses; hostile bytes cost little memory and
say nothing."""

import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import Odd, encoded, odd_images
from pickapic_factory import jpeg
from PIL import Image

from ranking.images import ImageError, decode_rgb
from ranking.images.decode import _quiet_pillow
from ranking.schema import CORRUPT, MISSING, TOO_LARGE, UNSUPPORTED

ODD = odd_images()


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_an_odd_image_is_a_picture_or_has_a_status(odd: Odd) -> None:
    if isinstance(odd.becomes, str):
        with pytest.raises(ImageError) as caught:
            decode_rgb(odd.data)
        assert caught.value.status == odd.becomes
        return
    image = decode_rgb(odd.data)
    assert image.mode == "RGB" and (odd.size is None or image.size == odd.size)
    assert np.abs(np.asarray(image)[0, 0].astype(int) - odd.becomes).max() <= odd.tolerance


def test_a_picture_of_the_largest_size_is_read() -> None:
    assert decode_rgb(encoded(Image.new("1", (5000, 5000), 1), "PNG")).size == (5000, 5000)


def test_the_odd_images_cost_no_more_than_the_largest_picture_that_is_allowed() -> None:
    code = (
        "import resource, sys; sys.path[:0] = sys.argv[1:]\n"
        "from odd_images import odd_images\nfrom ranking.images import ImageError, decode_rgb\n"
        "odd = odd_images(); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for each in odd:\n    try: decode_rgb(each.data)\n    except ImageError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(here.parent), str(here.parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150_000, "kB"


def test_an_error_that_came_instead_of_bytes_is_raised() -> None:
    with pytest.raises(ImageError) as caught:
        decode_rgb(ImageError("no host", status=MISSING))
    assert caught.value.status == MISSING


def test_warnings_stay_inside_and_the_filters_are_left_as_they_were() -> None:
    loud = [odd.data for odd in ODD if odd.name in ("exif that is none", "144 megapixels", "grey png", "html")] * 30

    def decode(data: bytes | None) -> None:
        try:
            decode_rgb(data)
        except ImageError as error:
            assert error.status in (CORRUPT, TOO_LARGE)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(decode, loud))
        assert list(warnings.filters) == before
    assert caught == []


def test_warnings_of_others_are_heard_while_a_picture_is_decoded() -> None:
    inside, done = threading.Event(), threading.Event()

    def decode() -> None:
        with _quiet_pillow():
            inside.set()
            done.wait(20)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other = threading.Thread(target=decode)
        other.start()
        assert inside.wait(20)
        warnings.warn("of ours", stacklevel=1)
        done.set()
        other.join()
    assert [str(warning.message) for warning in caught] == ["of ours"]


@settings(max_examples=150)
@given(at=st.integers(0, 300), value=st.integers(0, 255), cut=st.integers(0, 20))
def test_damaged_bytes_decode_or_have_a_status(at: int, value: int, cut: int) -> None:
    data = bytearray(jpeg("victim"))
    data[at % len(data)] = value
    try:
        assert decode_rgb(bytes(data[: len(data) - cut])).mode == "RGB"
    except ImageError as error:
        assert error.status in (CORRUPT, TOO_LARGE, MISSING, UNSUPPORTED)
