"""What becomes of a pair on its way into a batch, with a test for each public bug that data can have."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pickapic_factory import Row, rows
from PIL import Image
from subsets import all_pairs

from ranking.datasets import get_dataset
from ranking.errors import PairsieveError, UsageError
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.caches.provide import load_material
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Visit
from training.data.pairs import from_store, from_table
from training.data.preparing import refuse_early
from training.data.rows import rows_of
from training.data.uids import Places
from training.models.base import DiffusionModel
from training.models.load import load_model


@pytest.fixture(autouse=True)
def _caches_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> DiffusionModel:
    return load_model(str(tiny_model), device="cpu")


def picture(seed: int, height: int, width: int) -> bytes:
    """Coarse noise, so that every crop and mirror of it looks different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(out, "PNG")
    return out.getvalue()


def judged(pictures: Sequence[tuple[bytes, bytes]]) -> list[Row]:
    """Pairs of these two pictures, the first of which wins, each under a prompt of its own."""
    return [
        Row(f"prompt {i}", f"{i}-a", f"{i}-b", winner=0, ranking=i, raw=(("jpg_0", first), ("jpg_1", second)))
        for i, (first, second) in enumerate(pictures)
    ]


def made(store: Store, subset: Subset, model: DiffusionModel, **settings: Any) -> Material:
    cache, data = settings.pop("cache", {}), settings.pop("data", {})
    config = TrainConfig(device="cpu", evaluation=None, cache=cache, data=data, **settings)
    return load_material(from_store(store, subset), model, config)


def visits(material: Material, number: int = 0) -> list[Visit]:
    return [Visit(place, number) for place in range(len(material))]


@pytest.mark.parametrize("cached", [True, False])
def test_independent_flips_for_winner_and_loser(
    store: Store, tmp_path: Path, model: DiffusionModel, cached: bool
) -> None:
    """Salesforce's and diffusers' SD scripts draw flip and crop for each image of a pair by itself; here a pair of one
    and the same picture gives one and the same latent, however often it is looked at."""
    same = [(picture(i, 40, 56), picture(i, 40, 56)) for i in range(6)]
    subset = all_pairs(store, tmp_path, judged(same))
    crop = "centre" if cached else "random"
    material = made(store, subset, model, cache={"latents": cached}, data={"flip": True, "crop": crop})
    looks = [material.batch(visits(material, number)) for number in range(4)]
    for batch in looks:
        winners, losers = batch.latents.chunk(2)
        torch.testing.assert_close(winners, losers, rtol=0, atol=1e-6)
        assert torch.equal(*batch.geometry.chunk(2))
    mirrored = [tuple(material.draw(Visit(place, n)).flipped for n in range(4)) for place in range(6)]
    assert len(set(mirrored)) > 1 and any(len(set(each)) == 2 for each in mirrored)
    assert not torch.equal(looks[0].latents, looks[1].latents)


def test_crops_of_a_pair_are_at_the_same_place_where_its_sizes_differ(
    store: Store, tmp_path: Path, model: DiffusionModel
) -> None:
    """The loser is the winner at twice its size: its crops are the same to within what resizing does."""
    subset = all_pairs(store, tmp_path, judged([(picture(i, 48, 80), picture(i, 96, 160)) for i in range(4)]))
    material = made(store, subset, model, cache={"latents": False}, data={"flip": True, "crop": "random"})
    seen = [material.batch(visits(material, number)).geometry for number in range(3)]
    for geometry in seen:
        winner, loser = geometry.chunk(2)
        # Original sizes differ; both are covered by 32 × 53, so what is cut off is the same.
        assert winner[:, :2].tolist() == [[48, 80]] * 4 and loser[:, :2].tolist() == [[96, 160]] * 4
        assert torch.equal(winner[:, 2:], loser[:, 2:])
    assert len({tuple(geometry[:, 3].tolist()) for geometry in seen}) == 3


def test_channels_concatenated_pairs(store: Store, subset: Subset, model: DiffusionModel) -> None:
    """The public dataset code joins a pair along the channels, to be taken apart again; here winners come first and
    then losers, along the batch."""
    material = made(store, subset, model)
    batch = material.batch(visits(material))
    assert batch.latents.shape == (2 * subset.rows, model.latent_channels, 16, 16)
    alone = [material.batch([visit]).latents for visit in visits(material)]
    assert torch.equal(batch.latents, torch.cat([each[:1] for each in alone] + [each[1:] for each in alone]))


def test_precompute_drops_prompts_once_for_all_epochs(store: Store, subset: Subset, model: DiffusionModel) -> None:
    """diffusers encodes prompts once, dropped ones among them, so that a pair is without its prompt for ever; here each
    epoch draws anew, with the states kept as well."""
    material = made(store, subset, model, data={"prompt_dropout": 0.5})
    dropped = [[material.draw(visit).dropped for visit in visits(material, number)] for number in range(12)]
    assert all(0 < sum(column) < 12 for column in zip(*dropped, strict=True))
    nothing, told = model.no_prompt("encoded"), model.encode_prompts(material.batch(visits(material)).prompts)
    for number in (0, 1):
        states = material.batch(visits(material, number)).conditioning.tensors["states"]
        for place, without in enumerate(dropped[number]):
            wanted = nothing.tensors["states"][0] if without else told.tensors["states"][place]
            torch.testing.assert_close(states[place], wanted)


def test_different_caption_dropout_for_chosen_and_rejected(store: Store, subset: Subset, model: DiffusionModel) -> None:
    """One trainer drew it for each by itself; here both are told the same."""
    material = made(store, subset, model, data={"prompt_dropout": 0.5})
    for number in range(3):
        batch = material.batch(visits(material, number))
        assert torch.equal(*batch.conditioning.tensors["states"].chunk(2))
        # What methods compare prompts by is never dropped.
        assert all(prompt.startswith("prompt ") for prompt in batch.prompts)


def test_no_prompt_is_what_the_pipeline_samples_with_unless_the_config_says_otherwise(
    store: Store, subset: Subset, model: DiffusionModel, tiny_sdxl: Path
) -> None:
    """Every public trainer encodes "" for SDXL too, whose pipeline samples with zeros."""
    sdxl = load_model(str(tiny_sdxl), device="cpu")
    told = [
        made(store, subset, sdxl, data={"prompt_dropout": 1.0, **more}) for more in ({}, {"empty_prompt": "encoded"})
    ]
    for name in ("states", "pooled"):
        assert [bool(each.batch(visits(each)).conditioning.tensors[name].any()) for each in told] == [False, True]
    zeros = made(store, subset, model, data={"prompt_dropout": 1.0, "empty_prompt": "zeros"})
    assert not zeros.batch(visits(zeros)).conditioning.tensors["states"].any()
    encoded = made(store, subset, model, data={"prompt_dropout": 1.0})
    states = encoded.batch(visits(encoded)).conditioning.tensors["states"]
    torch.testing.assert_close(states, model.no_prompt("encoded").tensors["states"].expand_as(states))


def test_ties_counted_as_jpg_0_wins(store: Store, tmp_path: Path, model: DiffusionModel) -> None:
    """diffusers reads a label of ½ as a win of the first image. Ties of people are in no subset, and pairs of
    preference ½ are left out or trained on as what they are."""
    subset = all_pairs(store, tmp_path, rows(12))
    assert subset.rows == 8  # every third row is a tie
    table = subset_pairs(store, subset)
    half = pa.array([0.5, 0.9, 0.5, *[1.0] * 5])
    soft = table.set_column(table.schema.get_field_index("preference"), "preference", half)
    source = from_table(store, get_dataset(store, "pets"), soft, ref=subset.ref)

    def material(ties: str) -> Material:
        config = TrainConfig(device="cpu", evaluation=None, data={"ties": ties})
        return load_material(source, model, config)

    dropped, kept = material("drop"), material("soft")
    assert (len(dropped), dropped.rows.ties) == (6, 2)
    assert dropped.rows.ids_of(range(6)) == [table["pair_id"][place].as_py() for place in (1, 3, 4, 5, 6, 7)]
    assert (len(kept), kept.rows.ties) == (8, 0)
    torch.testing.assert_close(kept.batch(visits(kept)).preference, torch.tensor(half.to_pylist()))


def test_batch_size_1_assert_of_choice_models(store: Store, subset: Subset, model: DiffusionModel) -> None:
    """Salesforce's AI feedback scores each pair online and takes batches of one only; here a recipe says whose labels,
    and any batch is of the pictures that this scorer prefers."""
    spec = subset.recipe | {"name": "relabelled", "labels": {"relabel": "fixed"}}
    relabelled = create_subset(store, parse_recipe(spec), get_snapshot(store, subset.snapshot.n))
    human, theirs = made(store, subset, model), made(store, relabelled, model)
    assert theirs.rows.preference.tolist() == [1.0] * len(theirs)
    winners, losers = np.split(np.array(theirs.images(visits(theirs))), 2)
    # The scorer of these tests prefers the picture whose uid sorts first.
    assert all(winner < loser for winner, loser in zip(winners, losers, strict=True))
    people, _ = np.split(np.array(human.images(visits(human))), 2)
    by_id = dict(zip(theirs.rows.ids_of(range(len(theirs))), winners, strict=True))
    ours = dict(zip(human.rows.ids_of(range(len(human))), people, strict=True))
    assert any(by_id[pair] != ours[pair] for pair in ours)
    batch = theirs.batch(visits(theirs)[:4])
    assert torch.equal(batch.latents[0], theirs.batch([Visit(0, 7)]).latents[0])


def test_with_fixed_draws_a_visit_is_one_of_k(store: Store, subset: Subset, model: DiffusionModel) -> None:
    """Whether the reference's errors for them are kept (method dpo) or there are none (sft)."""
    for method in ("dpo", "sft"):
        material = made(store, subset, model, method=method, cache={"reference_draws": 3}, data={"flip": True})
        first, again, other = (material.batch(visits(material, number)) for number in (1, 4, 2))
        assert torch.equal(first.noise, again.noise) and torch.equal(first.times, again.times)
        assert torch.equal(first.uniform, again.uniform) and torch.equal(first.latents, again.latents)
        assert not torch.equal(first.noise, other.noise)


def test_pairs_are_framed_to_the_bucket_of_their_winner(store: Store, tmp_path: Path, model: DiffusionModel) -> None:
    wide, tall, square = (24, 64), (64, 24), (40, 40)
    shapes = [(wide, square), (tall, wide), (square, tall), (wide, wide), (tall, tall), (square, square)]
    sizes = [(picture(i, *winner), picture(9 + i, *loser)) for i, (winner, loser) in enumerate(shapes)]
    rows = judged(sizes)
    rows[5] = replace(rows[5], raw=(("jpg_0", b"no picture"), ("jpg_1", picture(0, 8, 8))))
    subset = all_pairs(store, tmp_path, rows)
    material = made(store, subset, model, data={"buckets": True})
    assert (len(material), material.skipped) == (5, 1)
    for passes in material.order(size=5).passes(0, 2):
        assert sorted(len(each) for each in passes) == [1, 2, 2]
        for each in passes:
            batch = material.batch(each)
            (target,) = {tuple(size) for size in batch.geometry[:, 4:].tolist()}
            assert batch.latents.shape[2:] == (target[0] // model.stride, target[1] // model.stride)
            for height, width in batch.geometry[: len(each), :2].tolist():
                ratio = width / height
                assert (target[1] > target[0]) == (ratio > 2) and (target[1] < target[0]) == (ratio < 0.5)


def test_pictures_seen_ahead_by_processes_are_those_seen_at_once_even_where_they_are_told_to_end_as_they_start(
    store: Store, subset: Subset, model: DiffusionModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C and service managers signal to the whole group; a run needs its helpers until its state is aside."""

    def latents(workers: int, passes: list[list[Visit]]) -> list[torch.Tensor]:
        data = {"flip": True, "crop": "random", "workers": workers}
        material = made(store, subset, model, cache={"latents": False}, data=data)
        material.follow(passes)
        helpers = active_children() if workers else []
        assert len(helpers) >= workers
        for number in (signal.SIGTERM, signal.SIGINT):
            for helper in helpers:
                os.kill(helper.pid or 0, number)
        return [material.batch(each).latents for each in passes]

    order = [[Visit(place, number) for place in (number, 5, 2)] for number in range(4)]
    for ahead, now in zip(latents(1, order), latents(0, order), strict=True):
        assert torch.equal(ahead, now)
    assert "no longer seen ahead" not in caplog.text


_LEFT = """
from functools import partial
from training.data.framing import Framing
from training.data.fresh import FreshLatents
look = ("gone",), (Framing(size=(8, 8)),)
left = FreshLatents(lambda uids: partial(dict), None, storage="float32", workers=1)
left.follow([look] * 3)
left.seen(*look)
print("seen")
"""


def test_a_process_ends_though_pictures_are_still_seen_ahead_for_it() -> None:
    """The helpers ignore the signal by which Python ends what is left, and it then waits for them without an end."""
    ended = subprocess.run([sys.executable, "-c", _LEFT], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "seen\n"), ended.stderr


def test_a_picture_that_is_gone_since_the_run_began_takes_its_pair_out_of_the_loss(
    store: Store, subset: Subset, model: DiffusionModel
) -> None:
    from ranking.flags.taking import take_down

    material = made(store, subset, model, cache={"latents": False})
    gone = material.images([Visit(2, 0)])[0]
    take_down(store, gone, by="dpo", why="private", door="cli")
    weights = material.batch(visits(material)).weight
    winners, losers = np.split(np.array(material.images(visits(material))), 2)
    shows = torch.from_numpy((winners == gone) | (losers == gone))
    assert shows.any() and torch.equal(weights == 0, shows)


def test_what_cannot_be_trained_on_is_refused_before_a_picture_is_read(store: Store, subset: Subset) -> None:
    source = from_store(store, subset)

    def refused(pairs: Any = source.rows, processes: int = 1, **settings: Any) -> str:
        with pytest.raises(UsageError) as error:
            refuse_early(pairs, TrainConfig(evaluation=None, **settings), processes=processes)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "1 pair" in refused(method="rpo", batch=1)
    refuse_early(source.rows, TrainConfig(evaluation=None, method="rpo", batch=1), processes=2)
    one_prompt = source.rows.at(np.flatnonzero(source.rows.prompt == 0))
    assert "1 prompt" in refused(one_prompt, method="rpo")
    all_ties = replace(source.rows, preference=torch.full((len(source.rows),), 0.5))
    assert "are ties" in refused(all_ties)
    assert "data.crop=random" in refused(data={"crop": "random"})


def test_a_damaged_pairs_file_is_refused(store: Store, subset: Subset) -> None:
    path = store.local(subset.pairs_key)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9] + b"?" * 9)
    with pytest.raises(PairsieveError, match="damaged"):
        from_store(store, subset)


names = st.lists(st.text(max_size=5), min_size=1, max_size=30, unique=True)


@given(names, st.lists(st.text(max_size=5), max_size=9))
def test_strings_are_found_among_distinct_ones(known: list[str], asked: list[str]) -> None:
    found = Places(pa.array(known)).of(asked + known).tolist()
    assert found == [known.index(name) if name in known else -1 for name in asked + known]


@given(st.lists(st.tuples(*[st.sampled_from("abcdef")] * 3), min_size=1, max_size=20))
def test_rows_are_those_of_their_table(made: list[tuple[str, str, str]]) -> None:
    table = pa.table(
        {
            "pair_id": [f"p{i}" for i in range(len(made))],
            "prompt": [prompt for prompt, _, _ in made],
            "winner_uid": [winner for _, winner, _ in made],
            "loser_uid": [loser for _, _, loser in made],
            "preference": [1.0] * len(made),
            "weight": [2.0] * len(made),
        }
    )
    found = rows_of(table, ref="x@1")
    places = list(range(len(made)))
    assert found.ids_of(places) == table["pair_id"].to_pylist()
    assert found.prompts_of(places) == table["prompt"].to_pylist()
    assert found.images_of(places) == table["winner_uid"].to_pylist() + table["loser_uid"].to_pylist()
    assert found.prompts == len({prompt for prompt, _, _ in made})
    assert {found.uids[int(place)].as_py() for place in found.images} == {uid for _, *pair in made for uid in pair}
    last = found.at(np.array([len(made) - 1]))
    assert last.images_of([0]) == list(made[-1][1:])
    assert last.fingerprint != found.at(np.array([], np.int64)).fingerprint
