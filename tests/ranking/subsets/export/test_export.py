"""What holds of every form of export: the same bytes anywhere, nothing half-written, left-out pairs told."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from ranking.errors import EmptySubsetError, PairsieveError, SourceError, StoreError, UnknownNameError, UsageError
from ranking.flags.taking import take_down
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, get_subset, subset_pairs
from ranking.subsets.export import export as module
from ranking.subsets.export import folder as folders
from ranking.subsets.export.export import export_subset
from ranking.subsets.export.formats import FORMATS

EVERY = sorted(FORMATS)


def tree(folder: Path) -> dict[str, str]:
    """Every file with its hash."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards and parts of one or two of the little pairs."""
    whole = module.cut
    monkeypatch.setattr(module, "cut", lambda blocks, **limits: whole(blocks, **limits | {"shard_bytes": 4_000}))


@pytest.mark.parametrize("format", EVERY)
def test_the_same_subset_gives_the_same_bytes_from_a_copy_of_the_store(
    export: Any, copied: Store, subset: Subset, tmp_path: Path, format: str
) -> None:
    export(format, tmp_path / "here")
    export_subset(copied, subset, tmp_path / "there", format=format)
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
    told = " ".join(p.read_text() for p in (tmp_path / "here").glob("*.*") if p.suffix in (".md", ".json"))
    assert str(tmp_path.parent) not in told, "nothing of this machine"


@pytest.mark.parametrize("format", EVERY)
def test_the_manifest_has_the_hash_of_every_file(export: Any, odd: Subset, tmp_path: Path, format: str) -> None:
    export(format, of=odd)
    found = tree(tmp_path / format)
    manifest = json.loads((tmp_path / format / "manifest.json").read_text())
    listed = {file["path"]: file["sha256"] for file in manifest["files"]}
    if format == "jsonl":
        images = (tmp_path / "jsonl/images.sha256").read_text().splitlines()
        listed |= {line.split("  ")[1]: line.split("  ")[0] for line in images}
    del found["manifest.json"]
    assert listed == found
    assert not (tmp_path / format / ".unfinished").exists()


@pytest.mark.parametrize("format", ["parquet", "hf", "jsonl", "webdataset"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_killed_export_goes_on_and_ends_as_if_it_had_not_been(
    export: Any, odd: Subset, tmp_path: Path, format: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    monkeypatch.setattr(module, "_PART_PAIRS", 1)
    export(format, tmp_path / "whole", of=odd)
    finish = folders.Folder.finish_shard

    def die(self: folders.Folder, shard: folders.Shard) -> None:
        if shard.number == after:
            raise KeyboardInterrupt
        finish(self, shard)

    with monkeypatch.context() as patch:
        patch.setattr(folders.Folder, "finish_shard", die)
        with pytest.raises(KeyboardInterrupt):
            export(format, tmp_path / "cut", of=odd)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [".unfinished"], "nothing looks finished"
    report = export(format, tmp_path / "cut", of=odd)
    assert report.resumed >= min(after, 1)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_an_export_killed_while_it_was_moved_into_place_is_finished_by_the_next_call(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("parquet", tmp_path / "whole")
    rename = Path.rename

    def die(self: Path, target: Path) -> Path:
        if target == tmp_path / "cut/croissant.json":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            export("parquet", tmp_path / "cut")
    assert (tmp_path / "cut/data").is_dir() and not (tmp_path / "cut/manifest.json").exists()
    export("parquet", tmp_path / "cut")
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_a_shard_that_was_damaged_meanwhile_is_written_again(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    export("webdataset", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(folders.Folder, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export("webdataset", tmp_path / "cut")
    shard = tmp_path / "cut/.unfinished/tree/data/train-000001.tar"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    export("webdataset", tmp_path / "cut")
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_pairs_whose_images_cannot_be_read_are_left_out_and_told(export: Any, odd: Subset, tmp_path: Path) -> None:
    report = export("parquet", of=odd)
    assert (report.pairs, report.left_out) == (5, {"corrupt": 1, "missing": 1, "unsupported": 1})
    assert re.fullmatch(r"pair [0-9a-f]{16}: image (broken|gone|moving): .+", report.first_left_out)
    said = (tmp_path / "parquet/README.md").read_text()
    assert "| left out | 1 (image corrupt), 1 (image missing), 1 (image unsupported) |" in said
    reasons = [line.split()[1] for line in (tmp_path / "parquet/left-out.txt").read_text().splitlines()]
    assert sorted(reasons) == ["corrupt", "missing", "unsupported"]


def test_strict_ends_at_the_first_image_that_cannot_be_read(export: Any, odd: Subset, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"pair [0-9a-f]{16} cannot be exported: image (broken|gone|moving): "):
        export("parquet", of=odd, strict=True)
    assert not (tmp_path / "parquet/manifest.json").exists()


@pytest.mark.parametrize("format", ["parquet", "uids"])
def test_an_image_that_was_taken_down_since_is_in_no_export(
    copied: Store, subset: Subset, tmp_path: Path, format: str
) -> None:
    before = export_subset(copied, subset, tmp_path / "before", format=format)
    take_down(copied, "img-5", dataset="pets", by="warden", why="asked for", door="cli")
    after = export_subset(copied, subset, tmp_path / "after", format=format, strict=True)
    assert after.left_out == {"taken_down": before.pairs - after.pairs}
    assert after.pairs < before.pairs
    data = tmp_path / "after" / ("data" if format == "parquet" else "pairs.csv")
    read = csv.read_csv if format == "uids" else pq.read_table
    assert all("img-5" not in read(data)[f"image_{side}_uid"].to_pylist() for side in (0, 1))
    assert f"{before.pairs - after.pairs} (an image was taken down)" in (tmp_path / "after/README.md").read_text()


def test_a_subset_all_of_whose_images_were_taken_down_is_refused(
    shop: Any, cut: Any, copied: Store, tmp_path: Path
) -> None:
    one = cut((copied, shop[1]), name="one", take={"count": 1})
    uid = subset_pairs(copied, one)["winner_uid"][0].as_py()
    take_down(copied, uid, dataset="pets", by="warden", why="asked for", door="cli")
    with pytest.raises(EmptySubsetError, match="an image that was taken down"):
        export_subset(copied, one, tmp_path / "after", format="uids")
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ({"notes.txt": "mine"}, "it holds other files, such as notes.txt"),
        ({"manifest.json": "{}"}, "files that are no export of ours"),
        ({".unfinished/state.json": '{"subset":"other@1","format":"hf"}'}, "an unfinished export of other@1 as hf"),
    ],
)
def test_a_folder_that_holds_anything_else_is_left_alone(
    export: Any, tmp_path: Path, present: dict[str, str], said: str
) -> None:
    for name, text in present.items():
        (tmp_path / "full" / name).parent.mkdir(parents=True)
        (tmp_path / "full" / name).write_text(text)
    before = tree(tmp_path / "full")
    with pytest.raises(UsageError, match=said):
        export("uids", tmp_path / "full")
    assert before.items() <= tree(tmp_path / "full").items()


def test_a_finished_export_and_a_file_are_no_places_either(export: Any, subset: Subset, tmp_path: Path) -> None:
    export("uids")
    with pytest.raises(UsageError, match=f"a finished export of {subset.ref}"):
        export("uids")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        export("uids", tmp_path / "file")


def test_two_exports_to_one_folder_are_refused(export: Any, tmp_path: Path) -> None:
    identity = {"subset": "a@1", "format": "uids"}
    with folders.claimed(tmp_path / "one", identity), pytest.raises(UsageError, match="another process is exporting"):
        export("uids", tmp_path / "one")


def test_a_full_disk_and_a_closed_folder_are_one_line(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ranking.subsets.export.sink.HashingFile.write", full)
        for format in ("parquet", "jsonl", "webdataset", "uids"):
            with pytest.raises(StoreError, match=r"cannot be written \(no space left on device\); check the folder"):
                export(format, tmp_path / f"full-{format}")
    with pytest.raises(StoreError, match="cannot be written"):
        export("uids", Path("/proc/nowhere"))
    export("parquet", tmp_path / "full-parquet")  # what was begun goes on once there is room


def test_an_unknown_form_names_the_near_ones(export: Any) -> None:
    with pytest.raises(UnknownNameError, match="did you mean parquet"):
        export("parket")


def test_a_source_that_is_gone_is_named(shop: Any, export: Any, subset: Subset, tmp_path: Path) -> None:
    source = Path(shop[0].uri).parent / "source"
    source.rename(source.with_name("elsewhere"))
    try:
        with pytest.raises(PairsieveError, match=r"part-\d.parquet is gone"):
            export("parquet")
    finally:
        source.with_name("elsewhere").rename(source)
    assert export("parquet").pairs == subset.rows


def test_images_are_held_a_few_at_a_time(export: Any, odd: Subset, tmp_path: Path, monkeypatch: Any) -> None:
    """With room for one or two little images blocks shrink to single pairs, and the bytes are the same."""
    from ranking.subsets.export import pictures

    export("parquet", tmp_path / "whole", of=odd)
    held: list[int] = []
    matched = pictures._matched
    monkeypatch.setattr(pictures, "_BUDGET", 1_000)
    monkeypatch.setattr(pictures, "_matched", lambda part, *rest: held.append(len(part)) or matched(part, *rest))
    export("parquet", tmp_path / "few", of=odd)
    assert max(held) == 1 or (sum(held) == odd.rows and max(held) <= 2)
    assert tree(tmp_path / "whole") == tree(tmp_path / "few")


def test_lists_have_the_pairs_in_their_order(export: Any, shop: Any, subset: Subset, tmp_path: Path) -> None:
    export("uids")
    taken = subset_pairs(shop[0], get_subset(shop[0], subset.ref))
    assert (tmp_path / "uids/pair_ids.txt").read_text().split() == taken["pair_id"].to_pylist()
    head, first, *_ = (tmp_path / "uids/pairs.csv").read_text().splitlines()
    row = dict(zip(head.replace('"', "").split(","), first.replace('"', "").split(","), strict=True))
    assert (row["rank"], row["pair_id"]) == ("1", taken["pair_id"][0].as_py())
    assert {row["image_0_uid"], row["image_1_uid"]} == {taken["winner_uid"][0].as_py(), taken["loser_uid"][0].as_py()}
