"""A recipe's diversity from end to end: caps and take stay exact, every pair is explained, the same pairs come out."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from notebook_store import scored_catalog

from ranking.audit import audit
from ranking.catalog import Catalog
from ranking.errors import UnknownNameError, UsageError
from ranking.notebook.ranked import Ranking
from ranking.subsets.diversity import rerank
from ranking.subsets.recipe import Diversity
from ranking.subsets.select import create_subset


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return scored_catalog(tmp_path_factory.mktemp("pool"), "pets", ("sharp",), embedded=True)


def ranking(catalog: Catalog, **keys: Any) -> Ranking:
    return catalog.rank(
        {"dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}, "take": {"count": 4}, **keys}
    )


def diverse(**wanted: Any) -> dict[str, Any]:
    return {"embedding": "clip-l14", "neighbours": 2, "of": "winner", **wanted}


@pytest.mark.parametrize("method", ["knn-entropy", "facility-location"])
def test_the_subset_is_the_reranked_pool_of_those_that_get_past_the_caps(catalog: Catalog, method: str) -> None:
    wanted = diverse(method=method, weight=0.7, pool=2.0)
    capped = ranking(catalog, take={"count": 8}, per_prompt={"max": 3}).to_arrow()
    found = ranking(catalog, per_prompt={"max": 3}, diversity=wanted)
    pool = capped.select(["prompt_id", "winner_uid"])
    expected = rerank(pool, Diversity(**wanted), table=found.table, take=4)
    taken = found.to_arrow()
    assert taken["pair_id"].to_pylist() == capped["pair_id"].take(expected.order[:4]).to_pylist()
    assert taken["rank"].to_pylist() == [1, 2, 3, 4]
    assert max(row["counts"] for row in pc.value_counts(taken["prompt_id"]).to_pylist()) <= 3


@pytest.mark.parametrize("method", ["knn-entropy", "facility-location"])
def test_without_weight_quality_alone_decides(catalog: Catalog, method: str) -> None:
    plain = ranking(catalog).to_arrow()
    assert ranking(catalog, diversity=diverse(method=method, weight=0.0)).to_arrow().equals(plain)
    assert not ranking(catalog, diversity=diverse(method=method, weight=1.0)).to_arrow().equals(plain)


def test_the_take_stays_exact_and_the_subset_says_how_it_went(catalog: Catalog) -> None:
    for method in ("knn-entropy", "facility-location"):
        subset = ranking(catalog, diversity=diverse(method=method, pool=1.6)).subset(f"diverse-{method}")
        told = subset.statistics["diversity"]
        assert (len(subset), told["method"], told["pool"], told["without_embedding"]) == (4, method, 7, 0)
        again = create_subset(catalog.store, subset.recipe, catalog.snapshot(), threads=1)
        assert again.sha256 == subset.record.sha256
    assert 0 < told["objective"] <= 1 and told["exact"] is True
    assert audit(catalog.store).errors == ()


def test_every_pair_of_the_pool_is_told_what_diversity_did_to_it(catalog: Catalog) -> None:
    for method in ("knn-entropy", "facility-location"):
        found = ranking(catalog, diversity=diverse(method=method, weight=0.9, pool=2.0))
        taken = set(found.to_arrow()["pair_id"].to_pylist())
        by_quality = ranking(catalog).preview(None)["pair_id"].to_pylist()
        for number, pair_id in enumerate(by_quality, 1):
            why = found.explain(pair_id)
            assert (why.taken, why.stage, why.rank) == (pair_id in taken, "diversity", number)
            if number > 8:
                assert "the best 8 that get past the caps only" in why.reason and why.change == "raise diversity.pool"
            else:
                assert f"number {number} of 8 by quality" in why.reason
            if number <= 8 and (number <= 4) != why.taken:
                assert why.change.startswith("lower diversity.weight")


def test_a_pair_that_a_cap_leaves_out_is_told_of_the_cap(catalog: Catalog) -> None:
    found = ranking(catalog, per_prompt={"max": 1}, diversity=diverse())
    stages = {found.explain(pair_id).stage for pair_id in found.preview(None)["pair_id"].to_pylist()}
    assert stages == {"per_prompt.max", "diversity"}


def test_what_does_not_fit_is_named_by_its_place(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match=r"diversity.*unknown embedding 'clip-l15'; did you mean clip-l14"):
        ranking(catalog, diversity={"embedding": "clip-l15"})
    with pytest.raises(UsageError, match=r"diversity.*threshold takes all that reach it.*use take.percent"):
        ranking(catalog, take={"threshold": 0.0}, diversity=diverse())


def test_the_recipe_of_the_design_page_is_valid(catalog: Catalog) -> None:
    found = ranking(catalog, diversity={"embedding": "clip-l14", "method": "knn-entropy", "weight": 0.2})
    assert len(found.to_arrow()) == 4
    assert [key for key in catalog.store.list("density") if key.endswith(".json")]
    assert Path(catalog.store.uri).is_dir()
