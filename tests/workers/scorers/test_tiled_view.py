"""The view of Qwen2-VL and its patches, pixel for pixel as transformers' own processors make them."""

import numpy as np
import pytest
import tiny_vlm
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

from ranking.images import ImageError
from workers.scorers.hpsv3 import patches
from workers.scorers.views import tiled

PIXELS = 256 * 28 * 28
VIEW = tiled(28, PIXELS)
EDGES = {"shortest_edge": PIXELS, "longest_edge": PIXELS}
SIZES = [(448, 448), (449, 447), (1, 1), (13, 17), (5, 1000), (1000, 5), (27, 29), (1023, 768), (3, 599), (2048, 1536)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_patches_are_those_of_the_processor_on_pillow(size: tuple[int, int]) -> None:
    picture = tiny_vlm.picture(size)
    theirs = Qwen2VLImageProcessorPil(size=EDGES)(picture, return_tensors="pt")
    ours = VIEW(picture)
    assert theirs["image_grid_thw"].tolist() == [[1, ours.shape[0] // 14, ours.shape[1] // 14]]
    torch.testing.assert_close(patches(torch.from_numpy(ours.copy())), theirs["pixel_values"], atol=5e-7, rtol=0)


def test_the_processor_on_tensors_differs_by_a_level_here_and_there() -> None:
    picture = tiny_vlm.picture((1023, 768))
    theirs = Qwen2VLImageProcessor(size=EDGES)(picture, return_tensors="pt")["pixel_values"]
    apart = (patches(torch.from_numpy(VIEW(picture).copy())) - theirs).abs()
    assert 0 < apart.max() < 1.01 / 255 / 0.2613  # one level over the smallest deviation
    assert apart.mean() < 0.05 / 255


def test_every_size_is_the_one_of_smart_resize() -> None:
    rng = np.random.default_rng(4)
    sizes = [tuple(int(side) for side in pair) for pair in np.exp(rng.uniform(0, 7, (400, 2)))]
    for width, height in sizes:
        if max(width, height) > 200 * min(width, height):
            continue
        shown = VIEW(Image.new("RGB", (width, height)))
        wanted = smart_resize(height, width, factor=28, min_pixels=PIXELS, max_pixels=PIXELS)
        assert shown.shape == (*wanted, 3), (width, height)


@pytest.mark.parametrize("size", [(201, 1), (2, 401)])
def test_a_picture_too_long_for_qwen_is_told_apart(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"its sides are {size[0]} and {size[1]}") as raised:
        VIEW(Image.new("RGB", size))
    assert raised.value.status == "unsupported"
