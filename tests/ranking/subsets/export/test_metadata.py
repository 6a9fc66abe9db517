"""Cards and Croissant metadata: what they state, and that the tools which read them do."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ranking.store.snapshots import Snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.export.formats import FORMATS
from ranking.subsets.export.provenance import ScorerFacts

FACTS = {"sharp": ScorerFacts("Apache-2.0", "MIT", (("hf://org/sharp@abc/model.safetensors", "f" * 64),))}


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_the_reference_validator_finds_nothing_but_the_date_that_is_left_out_on_purpose(
    export: Any, tmp_path: Path, format: str
) -> None:
    import mlcroissant

    export(format)
    found = mlcroissant.Dataset(str(tmp_path / format / "croissant.json"))
    issues = found.metadata.ctx.issues
    assert not issues.errors
    assert [warning.partition("] ")[2] for warning in issues.warnings] == [
        'Property "https://schema.org/datePublished" is recommended, but does not exist.'
    ]
    hashes = {file["path"]: file["sha256"] for file in manifest(tmp_path / format)["files"]}
    named = {file.content_url: file.sha256 for file in found.metadata.file_objects}
    assert named.items() <= hashes.items() and len(named) == len(hashes) - 2, "all but the card and the metadata itself"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("format", "image"), [("parquet", "jpg_0"), ("hf", "image_0"), ("jsonl", None), ("uids", None)]
)
def test_the_reference_reader_gives_the_records(
    export: Any, shop: Any, subset: Subset, tmp_path: Path, format: str, image: str | None
) -> None:
    import mlcroissant

    export(format)
    records = list(mlcroissant.Dataset(str(tmp_path / format / "croissant.json")).records("pairs"))
    assert [record["pairs/pair_id"].decode() for record in records] == subset_pairs(shop[0], subset)[
        "pair_id"
    ].to_pylist()
    if image:
        assert records[0][f"pairs/{image}"].size == (8, 8)


def test_card_metadata_and_manifest_say_where_an_export_comes_from(
    export: Any, shop: Any, subset: Subset, tmp_path: Path
) -> None:
    export("parquet", licence="CC-BY-4.0", scorers=FACTS)
    snapshot: Snapshot = shop[1]
    card = (tmp_path / "parquet/README.md").read_text()
    metadata = (tmp_path / "parquet/croissant.json").read_text()
    facts = manifest(tmp_path / "parquet")["provenance"]
    for text in (card, metadata, json.dumps(facts)):
        for wanted in (subset.ref, subset.sha256, snapshot.sha, "sharp@00000000", "CC-BY-4.0", "MIT", "relabel"):
            assert wanted in text, wanted
    assert facts["recipe"] == subset.recipe and facts["statistics"] == subset.statistics
    assert facts["snapshot"] == {"number": snapshot.n, "sha": snapshot.sha}
    (scorer,) = facts["scorers"]
    assert scorer["named_in_recipe"] and scorer["weights"][0]["sha256"] == "f" * 64
    assert json.loads(metadata)["license"] == "CC-BY-4.0"
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc-by-4.0"


def test_what_nobody_knows_is_said_to_be_unknown(export: Any, tmp_path: Path) -> None:
    export("uids")
    facts = manifest(tmp_path / "uids")["provenance"]
    assert facts["dataset"]["licence"] == facts["scorers"][0]["weights_licence"] == "unknown"
    card = (tmp_path / "uids/README.md").read_text()
    assert "| licence of the dataset | unknown: the store does not know it |" in card
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "unknown"


def test_a_licence_that_the_hub_has_no_word_for_is_named(export: Any, tmp_path: Path) -> None:
    export("uids", licence="Ask | Alice: she knows\n---\nnot: yaml")
    front = yaml.safe_load((tmp_path / "uids/README.md").read_text().split("\n---\n")[0].removeprefix("---\n"))
    assert front["license"] == "other" and front["license_name"].startswith("Ask | Alice")


def test_a_scorer_that_the_recipe_does_not_name_is_told_apart(export: Any, shop: Any, cut: Any, tmp_path: Path) -> None:
    export("uids", of=cut(shop, name="by-lot", metric={"name": "random"}))
    assert [s["named_in_recipe"] for s in manifest(tmp_path / "uids")["provenance"]["scorers"]] == [False]


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found
