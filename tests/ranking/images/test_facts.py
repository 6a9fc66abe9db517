"""What is known of an image: facts that follow from its bytes, and a hash that copies share."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from ranking.images import ImageError
from ranking.images.facts import FACTS_ID, ImageFacts, facts_of, perceptual_hash
from ranking.names import check_scorer_id, sha256_hex


def scene(seed: int, width: int = 512, height: int = 384) -> Image.Image:
    """Patches of colour with noise on them: about as busy as a photograph."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(patches, np.float64) + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def distance(one: Image.Image, other: Image.Image) -> int:
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


def again(image: Image.Image, format: str, **options: object) -> Image.Image:
    out = io.BytesIO()
    image.save(out, format, **options)
    return Image.open(out).convert("RGB")


SCENES = [scene(seed) for seed in range(24)]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: again(image, "JPEG", quality=75),
        lambda image: again(image, "JPEG", quality=20),
        lambda image: again(image, "WEBP", quality=60),
        lambda image: image.resize((256, 192), Image.Resampling.LANCZOS),
        lambda image: image.resize((1024, 768), Image.Resampling.BICUBIC),
        lambda image: image.resize((90, 120), Image.Resampling.BILINEAR),
        lambda image: image.point(lambda value: min(255, value + 12)),
        lambda image: image.convert("L").convert("RGB"),
    ],
    ids=["jpeg", "rough jpeg", "webp", "half", "double", "squeezed", "brighter", "grey"],
)
def test_copies_differ_by_a_few_bits(change: object) -> None:
    assert max(distance(image, change(image)) for image in SCENES) <= 4  # type: ignore[operator]


def test_strangers_differ_by_many_bits() -> None:
    apart = [distance(one, other) for at, one in enumerate(SCENES) for other in SCENES[:at]]
    assert min(apart) >= 12 and 29 <= np.mean(apart) <= 35


def test_a_picture_upside_down_or_mirrored_is_a_stranger() -> None:
    assert min(distance(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in SCENES) >= 12
    assert min(distance(image, image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)) for image in SCENES) >= 12


@pytest.mark.parametrize("colour", ["white", "black", "red", (1, 2, 3)])
def test_every_flat_picture_has_the_hash_nought(colour: object) -> None:
    assert perceptual_hash(Image.new("RGB", (300, 200), colour)) == 0  # type: ignore[arg-type]


def test_the_hash_is_that_of_its_definition() -> None:
    """The same by the textbook's sums, number by number, on a picture that needs no resizing."""
    grey = np.random.default_rng(5).integers(0, 256, (32, 32), np.uint8)
    low = np.zeros((8, 8))
    for u in range(8):
        for v in range(8):
            scale = (math.sqrt(1 / 32) if u == 0 else math.sqrt(2 / 32)) * (
                math.sqrt(1 / 32) if v == 0 else math.sqrt(2 / 32)
            )
            waves = (
                math.cos(math.pi * (2 * y + 1) * u / 64) * math.cos(math.pi * (2 * x + 1) * v / 64) * int(grey[y, x])
                for y in range(32)
                for x in range(32)
            )
            low[u, v] = scale * sum(waves)
    flat = low.ravel()
    bits = "0" + "".join("1" if value > sorted(flat[1:])[31] else "0" for value in flat[1:])
    assert perceptual_hash(Image.fromarray(np.dstack([grey] * 3))) == int(bits, 2)


def test_facts_follow_from_the_bytes_and_the_picture() -> None:
    image = SCENES[0]
    assert facts_of(b"abc", image) == ImageFacts("ok", 3, sha256_hex(b"abc"), 512, 384, perceptual_hash(image))
    assert facts_of(b"abc", ImageError("torn", status="corrupt")) == ImageFacts("corrupt", 3, sha256_hex(b"abc"))
    for nothing in (None, b"", ImageError("gone", status="missing")):
        assert facts_of(nothing, ImageError("gone", status="missing")) == ImageFacts("missing")


def test_facts_are_committed_under_an_id_like_a_scorers() -> None:
    assert check_scorer_id(FACTS_ID).startswith("image-facts@")
