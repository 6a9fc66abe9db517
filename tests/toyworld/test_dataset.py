"""Toyworld's files: Pick-a-Pic's schema, chains in which the winner stays, and the truth beside them."""

import io
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from ranking.subsets.export.tables import PICKAPIC
from training.toyworld.dataset import Written, write_dataset
from training.toyworld.world import is_held_out, parse_prompt


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_dataset(tmp_path_factory.mktemp("toy") / "toy", pairs=600, noise=0.25, seed=3)


@pytest.fixture(scope="module")
def pairs(written: Written) -> list[dict]:
    return pq.read_table(written.data).to_pylist()


def test_every_column_of_pick_a_pic_is_there(written: Written) -> None:
    (file,) = written.data.glob("*.parquet")
    assert pq.read_schema(file).names == PICKAPIC.names
    assert len(PICKAPIC) == 19


def test_labels_are_one_zero_or_halves_and_ties_name_no_best_image(pairs: list[dict]) -> None:
    for pair in pairs:
        assert (pair["label_0"], pair["label_1"]) in {(1, 0), (0, 1), (0.5, 0.5)}
        best = {1.0: pair["image_0_uid"], 0.0: pair["image_1_uid"], 0.5: "tie"}[pair["label_0"]]
        assert pair["best_image_uid"] == best
    assert any(pair["label_0"] == 0.5 for pair in pairs)


def test_the_winner_stays_and_the_loser_is_replaced(pairs: list[dict]) -> None:
    followed = 0
    for before, after in pairwise(pairs):
        sides = {before["image_0_uid"], before["image_1_uid"]}
        stayed = sides & {after["image_0_uid"], after["image_1_uid"]}
        if before["created_at"].date() == after["created_at"].date() and stayed:
            followed += 1
            assert len(stayed) == 1
            if before["label_0"] != 0.5:
                assert stayed == {before["best_image_uid"]}
            assert before["caption"] == after["caption"]
            assert before["user_id"] == after["user_id"]
    assert followed > 100


def test_pictures_are_jpegs_and_the_same_uid_has_the_same_bytes(pairs: list[dict]) -> None:
    bytes_of: dict[str, set[bytes]] = defaultdict(set)
    for pair in pairs:
        for side in (0, 1):
            bytes_of[pair[f"image_{side}_uid"]].add(pair[f"jpg_{side}"])
    assert all(len(versions) == 1 for versions in bytes_of.values())
    assert len(bytes_of) < 2 * len(pairs)
    with Image.open(io.BytesIO(pairs[0]["jpg_0"])) as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))


def test_no_pair_shows_a_held_out_prompt(pairs: list[dict]) -> None:
    assert not any(is_held_out(parse_prompt(pair["caption"])) for pair in pairs)


def test_examples_per_prompt_are_counted(pairs: list[dict]) -> None:
    counts: dict[str, int] = defaultdict(int)
    for pair in pairs:
        counts[pair["caption"]] += 1
    assert all(pair["num_example_per_prompt"] == counts[pair["caption"]] for pair in pairs)


def test_the_truth_is_row_by_row_and_says_how_many_labels_are_right(written: Written, pairs: list[dict]) -> None:
    truth = {row["ranking_id"]: row for row in pq.read_table(written.truth).to_pylist()}
    assert set(truth) == {pair["ranking_id"] for pair in pairs}
    decided = [
        pair["label_0"] == truth[pair["ranking_id"]]["true_label_0"]
        for pair in pairs
        if pair["label_0"] != 0.5 and truth[pair["ranking_id"]]["true_label_0"] != 0.5
    ]
    assert written.label_accuracy == pytest.approx(sum(decided) / len(decided))
    assert 0.65 < written.label_accuracy < 0.8
    assert (written.pairs, written.ties) == (600, sum(pair["label_0"] == 0.5 for pair in pairs))


def test_the_seed_fixes_the_files_and_size_and_number_are_free(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dataset(tmp_path / name, pairs=20, seed=seed, pixels=48)
    tables = [pq.read_table(tmp_path / name / "data") for name in "abc"]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    with Image.open(io.BytesIO(tables[0]["jpg_1"][0].as_py())) as image:
        assert image.size == (48, 48)


def test_the_truth_says_which_labels_were_flipped(tmp_path: Path) -> None:
    written = write_dataset(tmp_path / "toy", pairs=150, noise=0.5, noise_kind="raters", seed=4, pixels=32)
    truth = pq.read_table(written.truth).to_pylist()
    told = [pair["label_0"] != 0.5 for pair in pq.read_table(written.data).to_pylist()]
    flipped = [row["flipped"] for row in truth]
    assert 0.35 < sum(flipped) / sum(told) < 0.65
    assert not any(mark and not said for mark, said in zip(flipped, told, strict=True))
    assert {row["flip_rate"] for row in truth} == {0.0, 0.5}
