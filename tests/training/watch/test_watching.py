"""A watched run: samples that change nothing, records that go on after a resume, and word while it runs."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ranking.store.blobs import Store
from training.blocks import SampleConfig
from training.config import TrainConfig
from training.losses.outcome import Outcome
from training.methods.objective import Passes
from training.models.load import load_model
from training.watch import live
from training.watch.meter import Meter, Step
from training.watch.samples import draw_grid, is_due, labelled, prompts_of
from training.watch.watching import Watching

RUN = "0123456789abcdef"
SAMPLES = {"every": 2, "prompts": ["a red star", "a blue circle"], "images_per_prompt": 2, "inference_steps": 2}


def config_of(model: Path, **changes: Any) -> TrainConfig:
    values = {"steps": 4, "batch": 4, "warmup": 0, "device": "cpu", "evaluation": None, "watch": {"samples": SAMPLES}}
    return TrainConfig(model=str(model), **(values | changes))


def made(number: int, loss: float = 0.5) -> Step:
    meter = Meter(1)
    errors = torch.tensor([loss, 0.2])
    passes = Passes(errors, errors, torch.ones(1), torch.ones(1))
    meter.add(passes, Outcome(errors[0], errors[:1], torch.zeros(1)), torch.zeros(1))
    return meter.close(step=number, learning_rate=1e-5, gradient_norm=1.0, seconds=1.0)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return load_model(str(tiny_model), device="cpu")


def test_samples_follow_from_the_weights_and_leave_every_generator_alone(model: Any) -> None:
    config = SampleConfig(**SAMPLES)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = draw_grid(model, model.denoiser, config, prompts=config.prompts, step=0)
    again = draw_grid(model, model.denoiser, config, prompts=config.prompts, step=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert np.array_equal(first.images, again.images)
    assert first.images.shape == (4, 32, 32, 3)
    assert not np.array_equal(first.images[0], first.images[1])
    part = next(model.denoiser.children())
    part.training = True
    draw_grid(model, model.denoiser, config, prompts=config.prompts, step=4)
    assert part.training is True and model.denoiser.training is False
    part.training = False
    sheet = labelled(first)
    assert sheet.width >= 2 * 32
    assert sheet.height > 2 * 32


def test_a_grid_is_due_at_the_start_at_each_interval_and_at_the_end() -> None:
    config = SampleConfig(every=3)
    assert [step for step in range(9) if is_due(config, step, steps=8)] == [0, 3, 6, 8]


def test_prompts_are_the_configs_or_the_first_four_different_captions() -> None:
    assert prompts_of(SampleConfig(prompts=("x",)), ["a", "b"]) == ["x"]
    assert prompts_of(SampleConfig(), ["a", "a", "", "b", "c", "d", "e"]) == ["a", "b", "c", "d"]


def test_samples_are_kept_with_the_run_once(store: Store, model: Any, tiny_model: Path, tmp_path: Path) -> None:
    with Watching(store, RUN, config_of(tiny_model), tmp_path) as watching:
        drawn = [watching.look(model, model.denoiser, step) for step in range(5)]
        assert drawn == [True, False, True, False, True]
        assert watching.look(model, model.denoiser, 4) is False
    keys = store.list(f"runs/{RUN}/samples")
    assert [key.rpartition("/")[2] for key in keys] == [f"{step:010d}.parquet" for step in (0, 2, 4)]
    table = pq.read_table(store.local(keys[0]))
    assert table["prompt"].to_pylist() == ["a red star"] * 2 + ["a blue circle"] * 2
    assert len(set(table["seed"].to_pylist())) == 4
    assert not list(store.tmp().glob("samples-*"))


def test_after_a_resume_no_line_is_lost_or_double(store: Store, tiny_model: Path, tmp_path: Path) -> None:
    first, second, checkpoint = (tmp_path / name for name in ("first", "second", "checkpoint"))
    for folder in (first, second, checkpoint):
        folder.mkdir()
    config = config_of(tiny_model, watch={})
    with Watching(store, RUN, config, first) as watching:
        for number in range(3):
            watching.record(made(number))
        watching.save(checkpoint)
        watching.record(made(3, loss=9.0))  # lost with the attempt
    # Somebody's checkpoint may have been written late: lines of steps that will be taken again are dropped.
    with (checkpoint / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(made(3, loss=9.0).record()) + '\n{"step": 4, "lo')
    with Watching(store, RUN, config, second) as watching:
        watching.load(checkpoint, 3)
        for number in range(3, 5):
            watching.record(made(number))
    lines = [json.loads(line) for line in (second / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(n, 0.5) for n in range(5)]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(second / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [0, 1, 2, 3, 4]


def test_a_run_tells_its_steps_while_it_goes_on(store: Store, tiny_model: Path, tmp_path: Path) -> None:
    with Watching(store, RUN, config_of(tiny_model, watch={}), tmp_path, attempt="me") as watching:
        watching.record(made(0))
        word = live.told(store, RUN)
    assert word is not None
    assert (word.attempt, word.steps, [record["step"] for record in word.records]) == ("me", 4, [0])
    live.forget(store, RUN)
    assert live.told(store, RUN) is None


def test_a_word_that_cannot_be_read_is_no_word(store: Store) -> None:
    store.put_hint(f"hints/watch/{RUN}", b"half a wri")
    assert live.told(store, RUN) is None


def test_what_is_told_is_bounded_and_has_the_first_and_the_latest_steps() -> None:
    kept = live.Live()
    for number in range(20_000):
        kept.add({"step": number})
    steps = [record["step"] for record in kept.records]
    assert steps == sorted(set(steps))
    assert len(steps) <= 512 + 200
    assert steps[0] == 0
    assert steps[-200:] == list(range(19_800, 20_000))
    gaps = {later - step for step, later in pairwise(steps[:200])}
    assert len(gaps) == 1


def test_a_store_that_takes_no_word_does_not_end_the_run(
    store: Store, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "put_hint", full)
    with Watching(store, RUN, config_of(tiny_model, watch={}), tmp_path) as watching:
        watching.record(made(0))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
