"""The toy world: what is drawn, what the oracle sees of it, and what raters make of that."""

import numpy as np
import pytest

from training.toyworld import oracle
from training.toyworld.raters import answer_pair, hire_raters, label_pairs
from training.toyworld.world import (
    GENERATORS,
    SHAPES,
    Generator,
    Scene,
    all_scenes,
    held_out_scenes,
    parse_prompt,
    perfect,
    render,
    train_scenes,
)


def drawn(generator: Generator, count: int = 300, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    scenes = [train_scenes()[i] for i in random.integers(0, len(train_scenes()), count)]
    return render(generator.draw(scenes, random)), [scene.prompt for scene in scenes]


def test_prompts_name_their_scenes() -> None:
    assert all(parse_prompt(scene.prompt) == scene for scene in all_scenes())
    assert Scene("orange", "cross", "sky").prompt == "an orange cross on a sky background"


@pytest.mark.parametrize("prompt", ["a cat", "a red blue star on a sand background", ""])
def test_a_prompt_of_another_world_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="names"):
        parse_prompt(prompt)


def test_held_out_scenes_are_a_fixed_part_that_training_never_shows() -> None:
    assert len(held_out_scenes()) == 24
    assert not set(held_out_scenes()) & set(train_scenes())
    assert len(set(train_scenes()) | set(held_out_scenes())) == len(all_scenes()) == 150


def test_pictures_depend_on_the_seed_alone() -> None:
    assert np.array_equal(drawn(GENERATORS[0], 40)[0], drawn(GENERATORS[0], 40)[0])
    assert not np.array_equal(drawn(GENERATORS[0], 40)[0], drawn(GENERATORS[0], 40, seed=1)[0])


def test_the_oracle_likes_every_flawless_picture_at_any_size() -> None:
    scenes = all_scenes()
    for pixels in (64, 128):
        images = np.concatenate([render(perfect(scene), pixels) for scene in scenes])
        assert oracle.judge(images, [scene.prompt for scene in scenes]).utility.min() > 0.9


def test_the_oracle_sees_a_wrong_colour_shape_and_background() -> None:
    shown = Scene("red", "star", "snow")
    image = render(perfect(shown))
    for part, wanted in (
        ("colour", Scene("blue", "star", "snow")),
        ("shape", Scene("red", "circle", "snow")),
        ("background", Scene("red", "star", "night")),
    ):
        verdict = oracle.judge(image, [wanted.prompt])
        assert getattr(verdict, part)[0] < 0.2
        assert verdict.utility[0] < oracle.judge(image, [shown.prompt]).utility[0] - 0.1


@pytest.mark.parametrize("flaw", ["softness", "stains", "fade"])
def test_every_flaw_lowers_the_verdict(flaw: str) -> None:
    def mean(level: float) -> float:
        clean = {"wrong": 0.0, "softness": 0.0, "stains": 0.0, "fade": 0.0}
        images, prompts = drawn(Generator("test", **(clean | {flaw: level})))
        return float(oracle.judge(images, prompts).utility.mean())

    assert mean(0.0) > mean(0.2) + 0.02 > mean(0.6) + 0.04


def test_better_generators_draw_better_pictures() -> None:
    means = [oracle.judge(*drawn(generator)).utility.mean() for generator in GENERATORS]
    assert means[0] + 0.05 < means[1] < means[2] - 0.05


def test_shapes_can_be_told_apart() -> None:
    scenes = [Scene("green", shape, "snow") for shape in SHAPES]
    images = np.concatenate([render(perfect(scene)) for scene in scenes])
    for scene in scenes:
        verdict = oracle.judge(images, [scene.prompt] * len(SHAPES)).shape
        assert int(verdict.argmax()) == SHAPES.index(scene.shape)
        assert np.sort(verdict)[-2] < 0.5


def test_the_true_label_has_a_margin_for_ties() -> None:
    labels = oracle.prefers(np.array([0.5, 0.5, 0.52]), np.array([0.4, 0.6, 0.5]))
    assert labels.tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.25, 0.5])
def test_labels_are_wrong_at_the_set_rate(noise: float) -> None:
    # Gaps so wide that no careful rater errs or ties: what is left is the flips.
    raters = hire_raters(50, noise=noise, seed=0)
    assert raters.flip_rate.mean() == pytest.approx(noise, abs=1e-6)
    gaps = np.where(np.arange(20_000) % 2, 0.9, -0.9).astype(np.float32)
    labels = label_pairs(raters, gaps, np.random.default_rng(0))
    assert float(((labels == 1) != (gaps > 0)).mean()) == pytest.approx(noise, abs=0.02)


def test_raters_call_small_gaps_ties() -> None:
    raters = hire_raters(50, noise=0, seed=0)
    random = np.random.default_rng(0)
    assert (label_pairs(raters, np.zeros(500, np.float32), random) == 0.5).all()
    assert not (label_pairs(raters, np.full(500, 0.3, np.float32), random) == 0.5).any()


@pytest.mark.parametrize("noise", [-0.1, 0.6])
def test_a_noise_rate_outside_its_range_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="noise"):
        hire_raters(5, noise=noise, seed=0)


@pytest.mark.parametrize("noise", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("kind", ["uniform", "raters", "hard"])
def test_noise_of_every_kind_averages_the_rate_and_lies_where_it_is_said_to(kind: str, noise: float) -> None:
    random = np.random.default_rng(1)
    gaps = random.normal(0, 0.3, 6000)
    raters = hire_raters(40, noise=noise, seed=0, kind=kind, gaps=gaps)
    answers = [answer_pair(raters, index % 40, float(gap), random) for index, gap in enumerate(gaps)]
    told = np.array([answer.label != 0.5 for answer in answers])
    flipped = np.array([answer.flipped for answer in answers])
    assert flipped[told].mean() == pytest.approx(noise, abs=0.03)
    rates = np.array([flipped[told & (np.arange(6000) % 40 == rater)].mean() for rater in range(40)])
    near, far = (flipped[told & where].mean() for where in (abs(gaps) < 0.2, abs(gaps) > 0.4))
    if kind == "raters":
        # Twice the rate of forty raters answer at random; the others never flip.
        assert (rates > 0.25).sum() == round(2 * noise * 40)
        assert (rates == 0).sum() == 40 - round(2 * noise * 40)
    else:
        assert rates.std() < 0.06
    assert near > 1.5 * far if kind == "hard" else near == pytest.approx(far, abs=0.05)


def test_noise_in_hard_pairs_must_know_the_pairs_and_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="gaps"):
        hire_raters(5, noise=0.1, seed=0, kind="hard")
    with pytest.raises(ValueError, match="mixed, uniform, raters, hard"):
        hire_raters(5, noise=0.1, seed=0, kind="tired")
