"""What an evaluation leaves: beside the run, beside the subset, and what says that a judge is circular."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from ranking.subsets.foreign import ForeignSubset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.verdicts import read_verdicts
from service.cli import app
from training.blocks import EvaluationConfig, HeldOutConfig, LoraConfig
from training.config import TrainConfig
from training.evaluation.compare import best_by_median, head_to_head
from training.evaluation.records import list_evaluations, read_table
from training.evaluation.run import evaluate, selecting_scorers
from training.trainer import train
from workers.scorers.registry import resolve


def trained(store: Store, subset: Subset, model: Path, **changes: object) -> str:
    config = TrainConfig(
        model=str(model), steps=1, batch=2, learning_rate=0.02, warmup=0, device="cpu", evaluation=None, **changes
    )
    run = plan_run(store, subset.ref, config.model_dump(mode="json")).run_id
    train(store, run)
    return run


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    (tmp_path / "prompts.txt").write_text("a red star on a sand background\na blue circle on a snow background\n")
    return str(tmp_path / "prompts.txt")


def test_runs_side_by_side_with_tables_verdicts_and_tie_margins(
    store: Store, subset: Subset, tiny_model: Path, prompts: str, tmp_path: Path
) -> None:
    runs = [trained(store, subset, tiny_model), trained(store, subset, tiny_model, lora=LoraConfig(rank=2))]
    settings = EvaluationConfig(
        prompts=prompts,
        images_per_prompt=2,
        inference_steps=1,
        judges=("technical", "preference-toy"),
        ties={"technical": 1000.0, "preference-toy": "repeatability"},
        diversity="clip-toy",
    )
    found = [evaluate(store, run, settings, device="cpu") for run in runs]
    technical, learned = found[0].judges
    assert (technical.ties, technical.margin.source) == (4, "absolute")
    assert learned.margin.source == "repeatability" and learned.margin.width > 0
    assert found[0].diversity is not None and found[0].diversity.prompts == 2
    table = read_table(store, found[0])
    assert table.column_names == [
        *("prompt", "seed", "technical.base", "technical.run", "preference-toy.base", "preference-toy.run")
    ]
    assert table["technical.run"].to_numpy().mean() == pytest.approx(technical.mean_run, rel=1e-6)
    # The base of both is one drawing, judged once.
    assert found[0].base_samples == found[1].base_samples
    assert len(store.children("judgements")) == 4  # base, its JPEGs, and two runs
    (pair,) = head_to_head(store, found)
    assert (pair.run_id, pair.against) == (runs[1], runs[0])
    assert pair.judges[1].mean_base == pytest.approx(learned.mean_run)

    medians = [each.judges[1].median_run.value for each in found]
    assert best_by_median(found, "preference-toy") == found[int(medians[1] > medians[0])]

    verdicts = {verdict.run_id: verdict for verdict in read_verdicts(store, subset)}
    assert set(verdicts) == set(runs)
    assert verdicts[runs[0]].judges[1].rate == learned.rate and verdicts[runs[0]].method == "dpo"

    sheet = tmp_path / "sheet.png"
    options = ["--judges", "technical", "--steps", "1", "--device", "cpu", "--prompts", prompts, "--diversity", "none"]
    said = CliRunner().invoke(app, ["evaluate", *runs, *options, "--images-per-prompt", "1", "--sheet", str(sheet)])
    assert said.exit_code == 0, said.output
    assert f"run {runs[1]} against run {runs[0]}" in said.output and sheet.is_file()
    refused = CliRunner().invoke(app, ["evaluate", runs[0], "--ties", "technical"])
    assert refused.exit_code != 0
    unsaid = CliRunner().invoke(app, ["evaluate", runs[0], "--judges", "technical"])
    assert "nobody said what it is to draw" in str(unsaid.exception)
    assert len(list_evaluations(store, runs[0])) == 2


def test_a_judge_that_chose_the_pairs_is_circular_and_records_come_back_as_they_were(
    store: Store, subset: Subset, tiny_model: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(store, subset, tiny_model)
    judge = resolve(["technical"])["technical"]  # by its full id: it is the same scorer, however it is named
    settings = EvaluationConfig(
        prompts=prompts, images_per_prompt=1, inference_steps=1, judges=(judge,), held_out=HeldOutConfig(draws=2)
    )
    assert selecting_scorers(store, subset) == {"fixed"}  # the scorer that its recipe names
    monkeypatch.setattr("training.evaluation.run.selecting_scorers", lambda *_: frozenset({"technical"}))
    # Every prompt of that dataset was trained on, so nothing is held out.
    with pytest.raises(Exception, match="every prompt"):
        evaluate(store, run, settings, device="cpu")
    assert not store.list("samples")  # that is said before a picture is drawn
    found = evaluate(store, run, settings.model_copy(update={"held_out": None}), device="cpu")
    assert found.judges[0].circular and read_verdicts(store, subset)[0].judges[0].circular
    assert found.implicit is None and list_evaluations(store, run) == [found]
    assert store.list("samples")
    assert not math.isnan(found.judges[0].low)


def test_of_another_stores_subset_the_recipe_says_who_may_have_chosen_its_pairs(store: Store, subset: Subset) -> None:
    judges = ("clip-l14", "technical", "mps")
    metric = {"name": "margin", "scorer": "clip-l14"}
    for changes, expected in (
        ({"metric": metric}, {"clip-l14"}),
        ({"metric": metric, "labels": {"relabel": "mps"}}, {"clip-l14", "mps"}),
        ({"metric": {"name": "random"}, "where": {"field": "technical.gap", "op": "gt", "value": 0}}, {"technical"}),
        ({"metric": {"name": "label-confidence"}}, set(judges)),
        ({"metric": {"name": "random"}, "weights": "label_confidence"}, set(judges)),
        ({"metric": {"name": "random"}}, set()),
    ):
        recipe = {"name": "r", "dataset": "pets", "take": {"count": 1}} | changes
        there = ForeignSubset(replace(subset, recipe=parse_recipe(recipe).canonical()), "", None)
        assert selecting_scorers(store, there, judges) == expected
