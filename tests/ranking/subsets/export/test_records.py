"""JSON lines with images, and WebDataset shards."""

import json
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pickapic_factory import jpeg

from ranking.subsets.catalog import Subset, subset_pairs


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_lines_name_images_by_their_content_and_ending(export: Any, odd: Subset, tmp_path: Path) -> None:
    export("jsonl", of=odd)
    rows = {row["prompt"]: row for row in lines(tmp_path / "jsonl")}
    assert rows["prompt 0"]["image_0"].endswith(".png")
    assert rows["prompt 1"]["image_0"].endswith(".webp")
    for row in rows.values():
        for side in (0, 1):
            path = tmp_path / "jsonl" / row[f"image_{side}"]
            assert path.stem == sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / "jsonl" / rows["prompt 2"]["image_1"]).read_bytes() == jpeg("img-93")


def test_equal_images_are_stored_once_and_checked_by_a_common_tool(export: Any, odd: Subset, tmp_path: Path) -> None:
    export("jsonl", of=odd)
    rows = {row["prompt"]: row for row in lines(tmp_path / "jsonl")}
    assert rows["prompt 7"]["image_0_uid"] != rows["prompt 2"]["image_0_uid"]
    assert rows["prompt 7"]["image_0"] == rows["prompt 2"]["image_0"]
    found = sorted(path.relative_to(tmp_path / "jsonl") for path in (tmp_path / "jsonl/images").rglob("*.*"))
    named = sorted({Path(row[f"image_{side}"]) for row in rows.values() for side in (0, 1)})
    assert found == named
    subprocess.run(["sha256sum", "--check", "--quiet", "images.sha256"], cwd=tmp_path / "jsonl", check=True)
    assert len((tmp_path / "jsonl/images.sha256").read_text().splitlines()) == len(named)


def test_lines_without_images_have_none(export: Any, subset: Subset, tmp_path: Path) -> None:
    export("jsonl", images=False)
    assert not (tmp_path / "jsonl/images").exists()
    assert all("image_0" not in row and row["image_0_uid"] for row in lines(tmp_path / "jsonl"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves its files open
def test_the_webdataset_library_reads_every_sample(export: Any, shop: Any, subset: Subset, tmp_path: Path) -> None:
    import webdataset

    export("webdataset")
    shards = sorted(str(path) for path in (tmp_path / "webdataset/data").glob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    taken = subset_pairs(shop[0], subset).to_pylist()
    assert [sample["__key__"] for sample in samples] == [row["pair_id"] for row in taken], "the best comes first"
    for sample, row in zip(samples, taken, strict=True):
        said = json.loads(sample["json"])
        winner = 0 if said["label_0"] == 1 else 1
        assert sample[f"{winner}.jpg"] == jpeg(row["winner_uid"])
        assert sample[f"{1 - winner}.jpg"] == jpeg(row["loser_uid"])


def test_members_of_a_shard_tell_nothing_of_when_and_by_whom(export: Any, odd: Subset, tmp_path: Path) -> None:
    export("webdataset", of=odd)
    with tarfile.open(tmp_path / "webdataset/data/train-000000.tar") as shard:
        members = shard.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert {member.name.partition(".")[2] for member in members} >= {"0.png", "0.webp", "0.jpg", "1.jpg", "json"}


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_shards_end_before_they_are_too_large(export: Any, tmp_path: Path, format: str, monkeypatch: Any) -> None:
    """Twelve little pairs would fit a shard of one MB; of a thousandth of it they take several."""
    from ranking.subsets.export import export as module

    whole = module.cut
    monkeypatch.setattr(module, "cut", lambda blocks, **limits: whole(blocks, **limits | {"shard_bytes": 4_000}))
    report = export(format)
    shards = sorted((tmp_path / format / "data").iterdir())
    assert len(shards) >= 3
    assert report.files == len(shards) + 3, "with card, metadata and manifest"
