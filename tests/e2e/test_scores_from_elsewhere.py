"""Somebody's own scores, through the command line alone: brought in, ranked by, seen in the API, taken out."""

import csv
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import pairsieve
from service_factory import serving

from ranking.store.blobs import Store


def taste(uid: str) -> float:
    """An opinion on an image that nobody else has."""
    return int(sha256(uid.encode()).hexdigest()[:5], 16) / 2**20


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 60 pairs of little pictures, ingested; and a table with a score for each image and prompt."""
    folder = tmp_path_factory.mktemp("elsewhere")
    made = pairsieve("toyworld", folder / "raw", "--pairs", 60, "--pixels", 32, "--seed", 3, "--json")
    assert made.status == 0, made.err
    done = pairsieve("--store", folder / "store", "ingest", folder / "raw" / "data", "--dataset", "shapes", "--json")
    assert done.status == 0, done.err
    rows = pq.read_table(folder / "raw" / "data").to_pylist()
    scores = {(row[f"image_{side}_uid"], row["caption"]) for row in rows for side in (0, 1)}
    with (folder / "taste.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "caption", "points"])
        writer.writerows([uid, caption, f"{taste(uid):.9g}"] for uid, caption in sorted(scores))
    return folder


def test_a_table_of_scores_ranks_pairs_and_comes_out_as_it_went_in(workplace: Path) -> None:
    store = ("--store", workplace / "store")
    words = ("scores", "import", workplace / "taste.csv", "--scorer", "taste", "--dataset", "shapes", "--json")
    refused = pairsieve(*store, *words)
    assert refused.status == 1 and "no column for image_uid, score" in refused.err and refused.err.count("\n") == 1
    mapped = (*words, "--columns", "image_uid=id,score=points")
    first = pairsieve(*store, *mapped)
    assert first.status == 0, first.err
    report, again = first.json(), pairsieve(*store, *mapped).json()
    assert again["scorer_id"] == report["scorer_id"] and (again["units_committed"], again["units_known"]) == (
        0,
        report["units_committed"],
    )
    made = pairsieve(*store, "snapshot", "create", "--json").json()
    assert made["scorers"] == "taste" and made["warnings"] == []
    assert made["tallies"]["shapes"]["taste"]["scored"] == report["scores"]
    options = ("--metric", "margin", "--scorer", "taste", "--top", "20%")
    best = pairsieve(*store, "rank", "shapes", *options, "--limit", 60, "--json").json()["pairs"]
    gaps = [taste(pair["winner_uid"]) - taste(pair["loser_uid"]) for pair in best]
    assert [pair["metric"] for pair in best] == sorted((pair["metric"] for pair in best), reverse=True)
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0
    subset = ("subset", "create", "mine", "--dataset", "shapes", "--scorer", "taste", "--top", "20%", "--json")
    taken = pairsieve(*store, *subset).json()["rows"]
    assert taken > 0
    assert_an_export_reads_back(store, workplace, pairs=taken)
    out = workplace / "out.csv"
    exported = pairsieve(*store, "scores", "export", "shapes", "--scorer", "taste", "--to", out, "--json")
    assert exported.status == 0, exported.err
    back = pairsieve(*store, "scores", "import", out, "--scorer", "taste", "--dataset", "shapes", "--json").json()
    assert back["scorer_id"] == report["scorer_id"] and back["units_committed"] == 0
    assert pairsieve(*store, "store", "audit", "--json").status == 0
    [listed] = [row for row in pairsieve(*store, "scorers", "--json").json() if row["kind"] == "imported"]
    assert (listed["id"], listed["dataset"], listed["files"]) == (report["scorer_id"], "shapes", "taste.csv")
    with serving(Store.open(workplace / "store")) as api:
        [scorer] = api.get("/v1/scorers").json()["items"]
    assert (scorer["name"], scorer["kind"], scorer["rows"]) == ("taste", "imported", report["scores"])


def test_a_scorer_that_is_installed_keeps_its_name(workplace: Path) -> None:
    words = ("scores", "import", workplace / "taste.csv", "--scorer", "technical", "--dataset", "shapes")
    refused = pairsieve("--store", workplace / "store", *words)
    assert refused.status == 2 and "technical-given" in refused.err


def assert_an_export_reads_back(store: tuple[object, ...], workplace: Path, *, pairs: int) -> None:
    """The subset "mine" goes out as Pick-a-Pic Parquet and comes back as a dataset; a folder is written to once."""
    words = ("subset", "export", "mine", workplace / "pickapic-mine", "--to", "parquet")
    done = pairsieve(*store, *words)
    assert done.status == 0 and f"{pairs:,} of {pairs:,}" in done.out, done.err
    names = ["caption", "image_0_uid", "image_1_uid", "label_0", "label_1", "jpg_0", "jpg_1"]
    out = pq.read_table(workplace / "pickapic-mine" / "data", columns=names).to_pylist()
    raw = pq.read_table(workplace / "raw" / "data", columns=names).to_pylist()
    assert len(out) == pairs and all(row in raw for row in out), "label by label and byte by byte"
    refused = pairsieve(*store, *words)
    assert refused.status == 2 and refused.err.count("\n") == 1 and "is not empty" in refused.err
    back = pairsieve(*store, "ingest", workplace / "pickapic-mine", "--dataset", "back", "--json").json()
    assert (back["pairs_added"], back["format"]) == (pairs, "pickapic")
