"""From pairs to a scorer that every other part finds, and what is refused on the way."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ranking.audit import audit
from ranking.collection import collect, plan_collection
from ranking.errors import PairsieveError, UnknownNameError, UsageError
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from ranking.trained import get_trained, list_trained
from training.reward.config import RewardConfig, parse_reward_config
from training.reward.examples import load_examples
from training.reward.split import SPLITS
from training.reward.train import train_reward
from training.toyworld.dataset import write_dataset
from workers.drive import score_here
from workers.scorers.registry import choose, load_committee, resolve, specs

HEAD = RewardConfig(steps=60, evaluate_every=20, validation=0.2, test=0.2, warmup=5)
CLIP = HEAD.model_copy(update={"kind": "clip", "steps": 4, "batch": 8, "evaluate_every": 2, "learning_rate": 1e-4})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pairs of Toyworld, a quarter of the labels flipped."""
    return write_dataset(tmp_path_factory.mktemp("toy"), pairs=300, seed=1).data


@pytest.fixture(scope="module")
def scored(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with these pairs, the CLIP's scores, and with them its embeddings."""
    folder = tmp_path_factory.mktemp("scored") / "store"
    store = Store.open(folder)
    ingest(store, source, "toy")
    score_here(store, create_plan(store, "toy", resolve(["clip-toy"]).values()), load_committee(["clip-toy"], "cpu"))
    return folder


@pytest.fixture
def toy(scored: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(scored, tmp_path / "store"))


def test_a_trained_head_is_a_scorer_like_any_other(toy: Store) -> None:
    found = train_reward(toy, "toy", "mine", HEAD)
    assert found.ref == "mine v1" and "mine" in specs(toy) and "mine" not in specs()
    ids = resolve(["mine", "clip-toy"], store=toy)
    plan = create_plan(toy, "toy", ids.values())
    report = score_here(toy, plan, load_committee(list(ids.values()), "cpu", store=toy))
    assert report.errors == ()
    # The report's accuracy is that of the scores in the store, recomputed from the wide table.
    snapshot = create_snapshot(toy)
    table = pq.read_table(wide_table(toy, snapshot, "toy"))
    rows = {pair: row for row, pair in enumerate(table["pair_id"].to_pylist())}
    examples = load_examples(toy, "toy", HEAD)
    test = [rows[examples.pair_ids[row]] for row in examples.part("test")]
    part = table.take(test)
    gap = part["mine.0"].to_numpy() - part["mine.1"].to_numpy()
    winner = part["winner"].to_numpy().astype(float)
    decided = ~np.isnan(winner)
    right = (gap > 0)[decided] == (winner == 0)[decided]
    assert found.facts["accuracies"]["imagerewarddb"] == pytest.approx(right.mean(), abs=1e-9)
    assert audit(toy).errors == ()


def test_a_training_leaves_the_smallest_numbers_of_its_caller_alone(toy: Store) -> None:
    train_reward(toy, "toy", "mine", HEAD.model_copy(update={"steps": 2, "evaluate_every": 1, "warmup": 1}))
    denormal = np.frombuffer(b"\x01\x00\x00\x00", np.float32)
    assert (denormal * np.float32(1))[0] > 0


def test_the_same_again_is_found_done_and_other_pairs_or_configs_make_the_next_version(toy: Store) -> None:
    first = train_reward(toy, "toy", "mine", HEAD)
    first_id = resolve(["mine"], store=toy)["mine"]
    assert train_reward(toy, "toy", "mine", HEAD) == first
    second = train_reward(toy, "toy", "mine", HEAD.model_copy(update={"head": "linear"}))
    assert (second.version, [each.version for each in list_trained(toy)]) == (2, [1, 2])
    newest = resolve(["mine"], store=toy)["mine"]
    assert newest != first_id
    # A worker with a plan of the first version still finds it.
    assert choose(first_id, store=toy).scorer_id == first_id
    assert load_committee([first_id], "cpu", store=toy).scorer_ids == {"mine": first_id}


def test_a_training_gives_the_same_bits_again_in_another_store(toy: Store, source: Path, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    ingest(other, source, "toy")
    # The other store has no embeddings: computing them gives what was kept.
    first, again = (train_reward(store, "toy", "mine", HEAD) for store in (toy, other))
    assert first.training == again.training and first.files == again.files
    assert resolve(["mine"], store=toy) == resolve(["mine"], store=other)


@pytest.mark.parametrize("shape", ["linear", "bilinear", "mlp"])
def test_every_head_starts_as_the_base_and_gets_better_on_its_own_pairs(toy: Store, shape: str) -> None:
    found = train_reward(toy, "toy", "mine", HEAD.model_copy(update={"head": shape, "keep": "last"}))
    report = json.loads(toy.get(found.paper("report.json")))
    losses = [row["training_loss"] for row in report["curve"] if "training_loss" in row]
    assert losses[-1] < losses[0]
    assert report["curve"][0]["accuracy"] == pytest.approx(base_accuracy(toy), abs=1e-9)


def base_accuracy(store: Store) -> float:
    """The share of decided validation pairs that clip-toy's scores in the store order rightly."""
    examples = load_examples(store, "toy", HEAD)
    rows = examples.part("validation")
    scores, label = examples.scores["clip-toy"][rows], examples.pairs.label[rows]
    decided = label != 0.5
    return float((np.sign(scores[:, 0] - scores[:, 1]) == np.sign(label - 0.5))[decided].mean())


def test_a_clip_is_trained_measured_and_registered(toy: Store) -> None:
    found = train_reward(toy, "toy", "tuned", CLIP)
    spec = choose("tuned", store=toy)
    assert spec.factory == "workers.scorers.clip:preference" and not spec.missing
    assert choose("tuned:bf16", store=toy).scorer_id != spec.scorer_id
    report = json.loads(toy.get(found.paper("report.json")))
    roles = [(each["name"], each["role"]) for each in report["comparison"]["judged"]]
    assert roles == [("trained", "trained"), ("base", "base"), ("clip-toy", "scorer")]
    by_name = {each["name"]: each for each in report["comparison"]["judged"]}
    # The base before training is the scorer that the store has scores of.
    assert by_name["base"]["accuracies"] == by_name["clip-toy"]["accuracies"]
    assert audit(toy).errors == ()
    page = toy.get(found.paper("report.html")).decode()
    assert "<svg" in page and "src=" not in page and "http" not in page


def test_training_twice_and_a_killed_one_leave_the_same_files(toy: Store) -> None:
    config = CLIP.model_copy(update={"checkpoint_every": 2, "evaluate_every": 4})

    def kill(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("reward", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reward(toy, "toy", "tuned", config, progress=kill)
    assert list_trained(toy) == [] and "tuned" not in specs(toy)
    begun: list[int] = []
    killed = train_reward(
        toy, "toy", "tuned", config, progress=lambda stage, done, _: begun.append(done) if stage == "reward" else None
    )
    assert begun[0] == 2
    whole = train_reward(toy, "toy", "again", config)
    assert killed.files == whole.files


def test_a_subset_is_learnt_from_with_the_labels_that_it_has(toy: Store) -> None:
    recipe = {
        "name": "flipped",
        "dataset": "toy",
        "metric": {"name": "margin", "scorer": "clip-toy"},
        "labels": {"relabel": "clip-toy"},
        "take": {"percent": 90.0},
    }
    subset = create_subset(toy, parse_recipe(recipe), create_snapshot(toy))
    examples = load_examples(toy, subset.ref, HEAD)
    assert len(examples.pairs) == subset.rows
    scores = examples.scores["clip-toy"]
    assert (examples.pairs.label == (scores[:, 0] > scores[:, 1])).all()
    assert (load_examples(toy, "toy", HEAD).pairs.label == 0.5).any()


def test_no_prompt_and_no_near_duplicate_is_in_two_splits(toy: Store) -> None:
    examples = load_examples(toy, "toy", HEAD)
    shown = {name: set(examples.pairs.prompt[examples.part(name)].tolist()) for name in SPLITS}
    assert not shown["training"] & shown["test"] and not shown["validation"] & (shown["training"] | shown["test"])
    assert all(shown.values())


def test_a_filter_chooses_pairs_and_an_unknown_field_gets_near_names(toy: Store) -> None:
    ties = parse_reward_config({"where": {"field": "is_tie", "op": "eq", "value": False}})
    examples = load_examples(toy, "toy", ties)
    assert (examples.pairs.label != 0.5).all() and examples.left_out["filter"] > 0
    with pytest.raises(UsageError, match="is_tie"):
        load_examples(toy, "toy", parse_reward_config({"where": {"field": "is_ti", "op": "eq", "value": False}}))


def test_names_bases_and_pairs_that_will_not_do_are_one_line_and_leave_nothing(toy: Store) -> None:
    refused = {
        ("clip-toy", HEAD): "taken by an installed scorer",
        ("image-facts", HEAD): "kept for image facts",
        ("Mine", HEAD): "not allowed",
        ("mine", HEAD.model_copy(update={"base": "technical"})): "keeps no embedding",
        ("mine", CLIP.model_copy(update={"base": "aesthetic-toy"})): "no CLIP",
    }
    for (name, config), line in refused.items():
        with pytest.raises(UsageError, match=line):
            train_reward(toy, "toy", name, config)
    few = parse_reward_config({"where": {"field": "prompt", "op": "eq", "value": "a red star on a sand background"}})
    with pytest.raises(PairsieveError, match=r"too few pairs to train on.*left out are"):
        train_reward(toy, "toy", "mine", few)
    with pytest.raises(PairsieveError, match="are ties: there is no preference"):
        train_reward(
            toy,
            "toy",
            "mine",
            parse_reward_config(
                {"where": {"field": "is_tie", "op": "eq", "value": True}, "validation": 0.3, "test": 0.3}
            ),
        )
    with pytest.raises(UnknownNameError, match="did you mean toy"):
        train_reward(toy, "tooy", "mine", HEAD)
    assert toy.list("scorers") == [] and not list(toy.tmp().glob("reward-*"))


def test_images_that_do_not_decode_are_counted_and_left_out(source: Path, tmp_path: Path) -> None:
    table = pq.read_table(source)
    broken = table["image_0_uid"].to_pylist()[:40]
    cells = [
        b"no picture" if uid in broken else data
        for uid, data in zip(table["image_0_uid"].to_pylist(), table["jpg_0"].to_pylist(), strict=True)
    ]
    (tmp_path / "data").mkdir()
    changed = table.set_column(table.schema.get_field_index("jpg_0"), table.schema.field("jpg_0"), [cells])
    pq.write_table(changed, tmp_path / "data" / "pairs.parquet")
    store = Store.open(tmp_path / "store")
    ingest(store, tmp_path / "data", "toy")
    found = train_reward(store, "toy", "mine", HEAD)
    assert found.facts["left_out"]["image"] >= 30
    assert sum(found.facts["pairs"].values()) + found.facts["left_out"]["image"] == 300


def test_collection_takes_what_no_version_names_and_nothing_else(toy: Store) -> None:
    found = train_reward(toy, "toy", "mine", HEAD)
    orphan = f"scorers/mine/{2:010d}/0123456789abcdef/{found.files[0].name}"
    toy.put_if_absent(orphan, b"a killed registration left this")
    later = time.time() + 400 * 86_400
    planned = plan_collection(toy, now=later)
    assert [each.key for each in planned.candidates if each.key.startswith("scorers/")] == [orphan]
    collect(toy, planned)
    assert get_trained(toy, "mine") == found and choose("mine", store=toy).scorer_id
    file = found.key(found.files[0])
    toy.delete(file)
    assert [(each.invariant, each.key) for each in audit(toy).errors] == [(4, file)]


def test_a_head_whose_base_is_not_here_is_listed_and_says_so(toy: Store) -> None:
    train_reward(toy, "toy", "mine", HEAD)
    key = f"scorers/mine/{1:010d}/manifest.json"
    record = json.loads(toy.get(key))
    toy.delete(key)
    toy.put_if_absent(key, json.dumps(record | {"base": "clip-toy@000000000000"}).encode())
    assert specs(toy)["mine"].missing
    with pytest.raises(PairsieveError, match="clip-toy@000000000000"):
        resolve(["mine"], store=toy)
