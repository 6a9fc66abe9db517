"""What scorers see, pixel for pixel as torchvision, open_clip and transformers see it, on pictures that are hard."""

import io
from collections.abc import Callable

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, ToTensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from ranking.images import ImageError, decode_rgb
from tests.workers.noise import noisy_pixels
from workers.scorers import views
from workers.scorers.base import View

ODD_SIZES = [(225, 223), (301, 199), (17, 5), (1, 9), (9, 1), (1, 1), (1023, 768), (3, 700), (99, 2)]
SIZES = [(224, 224), (512, 512), *ODD_SIZES]
BICUBIC = InterpolationMode.BICUBIC


def picture(size: tuple[int, int]) -> Image.Image:
    """Noise over a ramp: neither flat nor free of edges."""
    width, height = size
    ramp = np.linspace(0, 150, width * height * 3).reshape(height, width, 3)
    return Image.fromarray((ramp + noisy_pixels(f"{size}", (height, width, 3)) * 0.4).astype(np.uint8))


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def stored() -> dict[str, bytes]:
    """Pictures as files have them, each of an odd size."""
    rgb = picture((301, 199))
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(noisy_pixels("alpha", (199, 301))))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    deep = np.arange(301 * 199, dtype=np.uint16).reshape(199, 301)
    return {
        "rgb": saved(rgb, "PNG"),
        "jpeg": saved(rgb, "JPEG", quality=90),
        "webp": saved(rgb, "WEBP", quality=80),
        "palette": saved(rgb.quantize(37), "PNG"),
        "palette with a clear colour": saved(rgb.quantize(37), "PNG", transparency=3),
        "alpha": saved(alpha, "PNG"),
        "grey": saved(rgb.convert("L"), "PNG"),
        "grey with alpha": saved(alpha.convert("LA"), "PNG"),
        "cmyk": saved(rgb.convert("CMYK"), "JPEG", quality=90),
        "turned by EXIF": saved(rgb, "JPEG", quality=90, exif=rotated),
        "16 bits": saved(Image.fromarray(deep), "PNG"),
        "one bit": saved(rgb.convert("1"), "PNG"),
    }


STORED = stored()


def torchvision_crop(image: Image.Image, size: int = 224) -> np.ndarray:
    return np.asarray(Compose([Resize(size, BICUBIC), CenterCrop(size)])(image))


def torchvision_float_crop(image: Image.Image, size: int = 224) -> np.ndarray:
    """hpsv2 1.2.0's order of steps: to a tensor first, then resized (with antialiasing, since torchvision 0.17)."""
    return Compose([ToTensor(), Resize(size, BICUBIC), CenterCrop(size)])(image).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_the_crop_is_torchvisions_for_odd_sizes(size: tuple[int, int]) -> None:
    np.testing.assert_array_equal(views.crop(224)(picture(size)), torchvision_crop(picture(size)))
    np.testing.assert_array_equal(views.crop(35)(picture(size)), torchvision_crop(picture(size), 35))


@pytest.mark.parametrize("size", [*SIZES, (224, 227), (235, 224), (225, 224), (70, 33)])
def test_the_crop_of_pickscore_and_mps_is_that_of_transformers(size: tuple[int, int]) -> None:
    processor = CLIPImageProcessorPil(do_rescale=False, do_normalize=False)
    theirs = np.asarray(processor(picture(size))["pixel_values"][0]).transpose(1, 2, 0)
    np.testing.assert_array_equal(views.hf_crop(224)(picture(size)), theirs)


def test_transformers_cuts_one_margin_in_four_a_pixel_before_torchvision() -> None:
    differ = [
        margin
        for margin in range(12)
        if not np.array_equal(*(view(224)(picture((224 + margin, 224))) for view in (views.crop, views.hf_crop)))
    ]
    assert differ == [3, 7, 11]


def test_two_crops_of_one_picture_are_one_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[object] = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *given: sizes.append(given) or resize(self, *given))
    one, other = picture((300, 224)), picture((300, 225))
    for image in (one, one, other, one):
        views.crop(224)(image), views.hf_crop(224)(image)
    assert len(sizes) == 3
    del image, one, other
    assert views._latest is None


@pytest.mark.parametrize("kind", STORED)
def test_what_a_file_holds_is_seen_as_torchvision_and_transformers_see_its_rgb(kind: str) -> None:
    image = decode_rgb(STORED[kind])
    assert image.mode == "RGB"
    assert image.size == (301, 199)
    seen = views.crop(224)(image)
    np.testing.assert_array_equal(seen, torchvision_crop(image))
    options = {"do_normalize": False, "do_rescale": False, "return_tensors": "np"}
    processed = CLIPImageProcessorPil(size={"shortest_edge": 224})(image, **options)["pixel_values"][0]
    np.testing.assert_array_equal(seen, processed.transpose(1, 2, 0))
    np.testing.assert_allclose(views.float_crop(224)(image), torchvision_float_crop(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["rgb", "jpeg", "webp", "grey", "turned by EXIF"])
def test_pictures_without_palette_or_alpha_are_seen_as_open_clip_sees_the_file(kind: str) -> None:
    # open_clip turns to RGB after resizing, which agrees for these and differs for palettes and alpha.
    cfg = open_clip.transform.PreprocessCfg(size=224, mean=(0, 0, 0), std=(1, 1, 1))
    with Image.open(io.BytesIO(STORED[kind])) as image:
        theirs = open_clip.transform.image_transform_v2(cfg, is_train=False)(image)
    ours = torch.from_numpy(views.crop(224)(decode_rgb(STORED[kind])).copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("size", SIZES)
def test_the_squash_is_open_clips_for_odd_sizes(size: tuple[int, int]) -> None:
    cfg = open_clip.transform.PreprocessCfg(size=96, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash")
    theirs = open_clip.transform.image_transform_v2(cfg, is_train=False)(picture(size))
    ours = torch.from_numpy(views.squash(96)(picture(size)).copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("size", [*SIZES, (2100, 1400), (640, 4000)])
def test_the_float_crop_is_torchvisions_resize_of_a_tensor(size: tuple[int, int]) -> None:
    seen = views.float_crop(224)(picture(size))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, torchvision_float_crop(picture(size)), rtol=0, atol=2e-6)


def test_the_float_crop_overshoots_and_the_uint8_crop_cannot_stand_in_for_it() -> None:
    # The negative control of the test above: Pillow's crop is 0.28/255 away on average (reference §0.2).
    image = Image.fromarray(noisy_pixels("edges", (17, 31, 1)).repeat(3, 2) // 128 * 255)
    seen, rounded = views.float_crop(224)(image), views.crop(224)(image) / 255
    assert seen.min() < -0.05
    assert seen.max() > 1.05
    assert np.abs(seen - rounded).max() > 0.05
    large = picture((1023, 768))
    assert np.abs(views.float_crop(224)(large) - views.crop(224)(large) / 255).mean() > 2e-4


def test_a_resize_without_antialiasing_would_be_noticed() -> None:
    # "Official" HPSv2 on torchvision <= 0.16: 5/255 away on average.
    image = picture((1023, 768))
    old = Compose([ToTensor(), Resize(224, BICUBIC, antialias=False), CenterCrop(224)])(image).permute(1, 2, 0).numpy()
    assert np.abs(views.float_crop(224)(image) - old).mean() > 1e-2


@pytest.mark.parametrize("size", [(301, 199), (17, 5), (1, 9), (9, 1), (224, 224), (500, 333)])
def test_the_padded_square_is_llavas(size: tuple[int, int]) -> None:
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}, do_normalize=False
    )
    theirs = processor(picture(size), do_rescale=False, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(views.padded(336)(picture(size)), theirs.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("view", "size"),
    [
        (views.crop(224), (1, 20_000)),
        (views.float_crop(224), (20_000, 1)),
        (views.squash(384), (1, 200_000)),
        (views.padded(336), (20_000, 1)),
    ],
)
def test_a_picture_that_a_view_would_blow_up_is_refused_as_too_large(view: View, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError) as refused:
        view(Image.new("RGB", size))
    assert refused.value.status == "too_large"


@pytest.mark.parametrize("view", [views.crop(224), views.float_crop(224), views.squash(384), views.padded(336)])
def test_a_panorama_of_a_hundred_to_one_is_still_seen(view: View) -> None:
    side = dict(view.options)["size"]
    assert view(Image.new("RGB", (2000, 20), "red")).shape == (side, side, 3)


@pytest.mark.parametrize("make", [views.crop, views.float_crop, views.squash, views.padded])
def test_equal_views_are_one(make: Callable[[int], View]) -> None:
    assert {make(224), make(224)} == {make(224)}
    assert make(224) != make(336)
