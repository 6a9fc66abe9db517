"""The Python API: lazy queries, filters as keywords and trees, rankings, subsets, frames, and errors in one line."""

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from notebook_store import scored_catalog

from ranking import duck
from ranking.catalog import Catalog
from ranking.errors import EmptySubsetError, NotFoundError, PairsieveError, UnknownNameError, UsageError
from ranking.features import pairs as pairs_module
from ranking.notebook.conditions import amount
from ranking.schema import SUBSET_PAIRS
from ranking.store.blobs import Store
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset, rank

RECIPE = {"dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}, "take": {"count": 3}}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """One store for all: nothing here changes what another test reads."""
    folder = tmp_path_factory.mktemp("notebook")
    return scored_catalog(folder, "pets", ("sharp", "hue.2"))


def test_a_catalog_lists_what_the_store_has(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    assert [dataset.name for dataset in catalog.datasets()] == ["pets"]
    assert [each.n for each in catalog.snapshots()] == [snapshot.n]
    assert catalog.scorers() == dict(snapshot.scorers)
    assert "qsd" in catalog.metrics()
    pairs = catalog.dataset("pets")
    assert pairs.fields["sharp.gap"].kind == "number"
    assert pairs.scorers == ["hue.2", "sharp"] or pairs.scorers == ["sharp", "hue.2"]


def test_queries_are_lazy_and_immutable(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a query was run before its rows were asked for")

    with monkeypatch.context() as patched:
        patched.setattr(pairs_module, "checked_wide", never)
        every = catalog.dataset("pets")
        decided = every.where(is_tie=False)
        sorted_ = decided.select("pair_id").sort("pair_id").head(3)
    assert (every.filter, decided.most, sorted_.most) == (None, None, 3)
    ranking = decided.rank("margin", scorer="sharp").top("50%").per_prompt(2)
    ranking.seed(3)
    assert len(every) == 12
    assert len(decided) == pc.sum(pc.invert(every.to_arrow()["is_tie"])).as_py()
    assert "seed" not in ranking.values


@pytest.mark.parametrize(
    ("keywords", "tree"),
    [
        ({"is_tie": False}, {"field": "is_tie", "value": False}),
        ({"sharp.gap__gte": np.float32(0.25)}, {"field": "sharp.gap", "op": "gte", "value": 0.25}),
        ({"winner": [0, 1]}, {"field": "winner", "op": "in", "value": [0, 1]}),
        ({"hue.2.0": None}, {"field": "hue.2.0", "op": "isnull", "value": True}),
        ({"hue.2.0__ne": None}, {"field": "hue.2.0", "op": "isnull", "value": False}),
        (
            {"created_at__lt": datetime(2023, 1, 1)},
            {"field": "created_at", "op": "lt", "value": "2023-01-01T00:00:00"},
        ),
    ],
)
def test_a_keyword_says_what_its_tree_says(catalog: Catalog, keywords: dict[str, Any], tree: dict[str, Any]) -> None:
    pairs = catalog.dataset("pets")
    assert pairs.where(**keywords).filter == pairs.where(tree).filter
    assert pairs.where(**keywords).to_arrow().equals(pairs.where(tree).to_arrow())


def test_filters_add_up(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets")
    both = pairs.where({"or": [{"field": "winner", "value": 0}, {"field": "winner", "value": 1}]}).where(winner=0)
    table = pairs.to_arrow()
    assert both.to_arrow().equals(table.filter(pc.fill_null(pc.equal(table["winner"], 0), False)))
    assert len(pairs.where(winner=0, is_tie=True)) == 0


def test_rows_come_selected_sorted_and_cut(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets")
    found = pairs.select("pair_id", "sharp.gap").sort("sharp.gap", descending=True).head(4).to_arrow()
    whole = pairs.to_arrow().sort_by([("sharp.gap", "descending"), ("pair_id", "ascending")])
    gaps = [gap for gap in whole["sharp.gap"].to_pylist() if gap is not None]
    assert found.column_names == ["pair_id", "sharp.gap"]
    assert found["sharp.gap"].to_pylist() == gaps[:4]
    assert pairs.head(5).head(9).count() == 5
    assert pairs.sort("sharp.gap").head(3).describe("sharp.gap")["high"][0].as_py() == pytest.approx(gaps[-3])


def test_a_description_is_what_numpy_says(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets")
    values = pairs.to_arrow()["sharp.0"].drop_null().to_numpy().astype(np.float64)
    (row,) = pairs.describe("sharp.0").to_pylist()
    assert (row["count"], row["nulls"], row["distinct"]) == (len(values), 12 - len(values), len(set(values)))
    assert [row[name] for name in ("mean", "deviation", "low", "quarter", "median", "three_quarters", "high")] == (
        pytest.approx(
            [values.mean(), values.std(), *np.quantile(values, [0, 0.25, 0.5, 0.75, 1])],
        )
    )
    assert "sharp.gap" in pairs.describe()["field"].to_pylist()
    assert pairs.describe("prompt").to_pylist()[0]["mean"] is None


def test_a_histogram_counts_every_value_once(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets")
    values = pairs.to_arrow()["sharp.0"].drop_null().to_numpy().astype(np.float64)
    found = pairs.histogram("sharp.0", bins=4)
    counts, edges = np.histogram(values, bins=4)
    assert found["count"].to_pylist() == counts.tolist()
    assert [*found["low"].to_pylist(), found["high"][-1].as_py()] == pytest.approx(edges.tolist())
    assert pairs.where(winner=0).histogram("winner", bins=3)["count"].to_pylist()[0] == len(pairs.where(winner=0))
    assert pairs.where({"field": "hue.2.0", "op": "isnull", "value": True}).histogram("hue.2.0").num_rows == 0
    assert sum(pairs.values("winner")["count"].to_pylist()) == 12


def test_a_ranking_takes_what_the_recipe_does(catalog: Catalog, tmp_path: Path) -> None:
    store, snapshot = catalog.store, catalog.snapshot()
    fluent = catalog.dataset("pets").where(is_tie=False).rank("margin", scorer="sharp").top(3)
    whole = {**RECIPE, "name": "same", "where": {"field": "is_tie", "value": False}}
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: same\ndataset: pets\nwhere: {field: is_tie, value: false}\n"
        "metric: {name: margin, scorer: sharp}\ntake: {count: 3}\n"
    )
    expected = rank(store, snapshot, parse_recipe(whole))
    for ranking in (fluent, catalog.rank(whole), catalog.rank(parse_recipe(whole)), catalog.rank(file)):
        assert ranking.to_arrow().schema == SUBSET_PAIRS
        assert ranking.to_arrow()["pair_id"].to_pylist() == expected.filter(expected["taken"])["pair_id"].to_pylist()
        assert ranking.preview(None).equals(expected)
    assert fluent.preview(2).num_rows == 2
    best = expected["pair_id"][0].as_py()
    assert fluent.explain(best).taken
    # The same recipe under the same name is the same subset, however it was put together.
    assert (
        fluent.subset("same").ref
        == create_subset(store, parse_recipe(whole), snapshot).ref
        == catalog.rank(file).subset().ref
    )


def test_subsets_are_read_varied_and_kept_under_a_name(catalog: Catalog) -> None:
    subset = catalog.rank(RECIPE).subset("margin-3")
    again = catalog.subset("margin-3")
    assert (again.ref, len(again), again.recipe.name) == (subset.ref, 3, "margin-3")
    assert again.to_arrow().num_rows == 3
    assert subset.ref in [each.ref for each in catalog.subsets()]
    assert again.ranking.top(2).to_arrow()["pair_id"].to_pylist() == again.to_arrow()["pair_id"].to_pylist()[:2]
    assert again.statistics["after"]["pairs"] == 3


def test_rows_become_data_frames_of_pandas_and_polars(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets").select("pair_id", "sharp.gap")
    arrow = pairs.to_arrow()
    assert pairs.to_pandas()["pair_id"].tolist() == arrow["pair_id"].to_pylist()
    assert pairs.to_polars()["sharp.gap"].to_list() == arrow["sharp.gap"].to_pylist()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_not_installed_is_told_in_one_line(
    catalog: Catalog, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("ranking.notebook.frames.import_module", missing)
    with pytest.raises(UsageError, match=f"{library} is not installed; pip install {library}, or use to_arrow"):
        getattr(catalog.dataset("pets"), f"to_{library}")()


_WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pandas", "polars"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from ranking.catalog import Catalog

pairs = Catalog.open(sys.argv[1]).dataset("pets")
print(pairs.count(), pairs.look(1).cards[0].row["pair_id"])
"""


def test_the_api_needs_neither_pandas_nor_polars(catalog: Catalog) -> None:
    call = [sys.executable, "-c", _WITHOUT, catalog.store.uri]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["12", catalog.dataset("pets").head(1).to_arrow()["pair_id"][0].as_py()]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: c.dataset("pest"), "unknown dataset 'pest'; did you mean pets"),
        (lambda c: c.dataset("pets", snapshot=9), "snapshot 9"),
        (lambda c: c.dataset("pets").where(sharp_gap__gt=1), "unknown field 'sharp_gap'"),
        (lambda c: c.dataset("pets").where(winner__above=1), "unknown filter operator 'above'"),
        (lambda c: c.dataset("pets").where(winner="zero"), "'zero' cannot be compared with winner"),
        (lambda c: c.dataset("pets").where(winner__gt=None), "winner__gt cannot be compared with None"),
        (lambda c: c.dataset("pets").head(3).where(winner=0), "where\\(\\) after head\\(\\)"),
        (lambda c: c.dataset("pets").head(3).rank("random"), "rank\\(\\) after head\\(\\)"),
        (lambda c: c.dataset("pets").select("promt"), "did you mean prompt"),
        (lambda c: c.dataset("pets").histogram("prompt"), "use values\\('prompt'\\)"),
        (lambda c: c.dataset("pets").pair("0123"), "dataset pets has no pair 0123"),
        (lambda c: c.dataset("pets").rank("qds", scorer="sharp"), "unknown metric 'qds'"),
        (lambda c: c.dataset("pets").rank("qsd", scorer="shrap"), "unknown scorer 'shrap'"),
        (lambda c: c.dataset("pets").rank("random").top("120%"), "take.percent"),
        (lambda c: c.dataset("pets").rank("random").top("most"), "'most' is neither a percentage nor a count"),
        (lambda c: c.dataset("pets").rank("random").diversity("clip-l14"), "unknown embedding 'clip-l14'"),
        (lambda c: c.dataset("pets").rank("random").having(takes=3), "unknown key 'takes'"),
        (lambda c: c.dataset("pets").rank("random").subset(), "a subset needs a name"),
        (lambda c: c.dataset("pets").rank("margin", scorer="sharp").above(9).to_arrow(), "selects no pair"),
        (lambda c: c.rank("no-recipe.yaml"), "recipe no-recipe.yaml cannot be read"),
        (lambda c: c.subset("nothing"), "unknown subset 'nothing'"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(catalog: Catalog, ask: Callable[[Catalog], Any], said: str) -> None:
    with pytest.raises(PairsieveError, match=said) as raised:
        ask(catalog)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, UsageError | NotFoundError | UnknownNameError | EmptySubsetError)


def test_reading_makes_no_store(tmp_path: Path, store: Store) -> None:
    with pytest.raises(NotFoundError, match="there is no store at"):
        Catalog.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert Catalog.open().store.uri == store.uri
    with pytest.raises(NotFoundError, match="no snapshot yet"):
        Catalog.open().dataset("pets")


@pytest.mark.parametrize(("much", "take"), [("5.33%", {"percent": 5.33}), (7, {"count": 7}), ("7", {"count": 7})])
def test_how_much_to_take_is_a_percentage_or_a_count(much: Any, take: dict[str, float]) -> None:
    assert amount(much) == take


@pytest.mark.parametrize("much", [0.5, True, "half", "%"])
def test_a_share_without_a_sign_is_neither(much: Any) -> None:
    with pytest.raises(UsageError, match="neither a percentage nor a count"):
        amount(much)


def test_names_never_reach_sql_unquoted(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError):
        catalog.dataset("pets").values('winner"; DROP TABLE x')
    assert duck.identifier('a"b') == '"a""b"'
