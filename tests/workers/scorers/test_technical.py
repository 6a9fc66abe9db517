"""Technical measures on pictures whose values can be worked out by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from workers.scorers.base import Batch
from workers.scorers.registry import load_committee, specs
from workers.scorers.technical import PARTS, colourfulness, exposure, measure, sharpness, unblocked


def test_a_flat_grey_picture_is_not_sharp_not_colourful_well_exposed_and_has_no_blocks() -> None:
    picture = Image.new("RGB", (32, 32), (128, 128, 128))
    sharp, exposed, colourful, clean = measure(picture)
    assert (sharp, colourful, clean) == (0, 0, 1)
    # mean 128/255: 1 − (2·0.50196 − 1)² = 0.999985
    assert exposed == pytest.approx(0.999985, abs=1e-5)


def test_sharpness_of_a_checkerboard_by_hand() -> None:
    # Every inner pixel's Laplacian is ±4·0.5 = ±2 (neighbours differ by 0.5): variance 4, so 4 / 4.002.
    board = (np.indices((10, 10)).sum(0) % 2).astype(np.float32) / 2
    assert sharpness(board) == pytest.approx(4 / 4.002, abs=1e-6)


def test_blurring_lowers_sharpness() -> None:
    board = (np.indices((32, 32)).sum(0) % 2).astype(np.float32)
    softer = (board + np.roll(board, 1, 0) * 0.5) / 1.5
    assert sharpness(softer) < sharpness(board)


def test_exposure_counts_clipped_pixels() -> None:
    # Half black, half white: all clipped.
    halves = np.concatenate([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    assert exposure(halves) == 0
    # A quarter black, the rest 2/3: mean ½, three quarters unclipped.
    quarter = np.full((4, 4), 2 / 3, np.float32)
    quarter[0] = 0
    assert exposure(quarter) == pytest.approx(0.75, abs=1e-6)


def test_colourfulness_of_one_pure_red_by_hand() -> None:
    # rg = 1, yb = ½, no spread: m = 0.3·√1.25 = 0.33541; m / (m + 0.15)
    red = np.zeros((4, 4, 3), np.float32)
    red[..., 0] = 1
    assert colourfulness(red) == pytest.approx(0.33541 / 0.48541, abs=1e-4)


def test_steps_on_the_block_grid_count_as_blocks_and_a_gradient_does_not() -> None:
    gradient = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    assert unblocked(gradient) == pytest.approx(1, abs=1e-3)
    blocky = np.repeat(np.repeat(np.random.default_rng(0).random((4, 4), np.float32), 8, 0), 8, 1)
    blocky += 0.001 * np.random.default_rng(1).random((32, 32), np.float32)
    assert unblocked(blocky) < 0.05


def test_a_hard_compressed_jpeg_has_more_blocks_than_a_fine_one() -> None:
    pixels = np.random.default_rng(0).normal(128, 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
    smooth = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC)

    def at(quality: int) -> float:
        buffer = io.BytesIO()
        smooth.save(buffer, "JPEG", quality=quality)
        return float(measure(Image.open(buffer).convert("RGB"))[PARTS.index("blockiness")])

    assert at(8) < at(95)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 50), (7, 7), (8, 8)])
def test_tiny_pictures_have_finite_measures_in_range(size: tuple[int, int]) -> None:
    values = measure(Image.new("RGB", size, (200, 30, 90)))
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 1)).all()


def test_the_committee_gives_the_parts_and_their_mean() -> None:
    names = ["technical", *(f"technical-{part}" for part in PARTS)]
    committee = load_committee(names)
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "navy", "white")]
    scores = committee.score_pictures(pictures, ["a", "b", "c"])
    parts = np.stack([scores[committee.scorer_ids[name]] for name in names[1:]])
    np.testing.assert_allclose(scores[committee.scorer_ids["technical"]], parts.mean(0), rtol=1e-6)
    assert len(set(committee.scorer_ids.values())) == 5


def test_technical_measures_are_taken_once_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(
        "workers.scorers.technical.measure", lambda image: calls.append(image) or np.zeros(4, np.float32)
    )
    two = [Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red")]
    load_committee(["technical", "technical-exposure"]).score_pictures([*two, two[0]], ["x"] * 3)
    assert calls == two


def test_a_batch_needs_a_prompt_per_image() -> None:
    with pytest.raises(ValueError, match="2 images but 1 prompts"):
        Batch.of([Image.new("RGB", (8, 8))] * 2, ["one"], [])


def test_every_scorer_says_what_it_is() -> None:
    for spec in specs().values():
        assert spec.summary
        assert spec.licence
        assert ":" in spec.factory
