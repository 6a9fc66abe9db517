"""A study from its file to its table: right numbers, equal sizes, nothing done twice, nobody judging his own work."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from command_line import pairsieve
from scored import score_all

from ranking.audit import audit
from ranking.errors import EmptySubsetError, PairsieveError, UnknownNameError, UsageError
from ranking.features.pairs import PairTable
from ranking.runs import list_runs
from ranking.studies import filled, get_study, list_studies, study_result
from ranking.subsets.catalog import get_subset, subset_pairs
from ranking.subsets.influence import used_of, used_scorers
from ranking.subsets.recipe import parse_recipe
from training.evaluation.prompts import read_prompts
from training.study import run as module
from training.study.report import page
from training.study.result import to_csv
from training.study.run import begin_study, plan_of, run_study
from training.study.spec import StudySpec, parse_study

from .conftest import Toys


def spec(name: str, **changes: Any) -> StudySpec:
    base = {
        "name": name,
        "dataset": "toys",
        "budget": {"count": 30},
        "seeds": [0, 1],
        "arms": [
            {"name": "knows", "metric": {"name": "margin", "scorer": "knows"}},
            {"name": "half", "metric": {"name": "margin", "scorer": "half"}},
        ],
    }
    return parse_study(base | changes)


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {arm["name"]: arm for arm in result["arms"]}


@pytest.fixture(scope="module")
def done(toys: Toys) -> dict[str, Any]:
    judges = ["oracle-labels", "oracle-gap", "coverage", "effective-prompts", "agrees:half"]
    return run_study(toys.store, spec("whole", judges=judges))[1]


def test_every_arm_and_control_has_as_many_pairs_and_all_has_all(toys: Toys, done: dict[str, Any]) -> None:
    arms = by_name(done)
    decided = sum(winner != 0.5 for winner in column(toys, "label_0"))
    assert arms.pop("all")["pairs"] == {"0": decided}
    assert {name: set(arm["pairs"].values()) for name, arm in arms.items()} == {name: {30} for name in arms}
    assert {name for name, arm in arms.items() if len(arm["pairs"]) == 2} == {"random", "random-labels"}


def test_the_oracle_counts_what_the_truth_beside_the_dataset_says(toys: Toys, done: dict[str, Any]) -> None:
    found = by_name(done)["all"]["judged"]
    assert found["oracle-labels"]["value"] == pytest.approx(toys.written.label_accuracy)
    truth = toys.truth
    gap = pc.subtract(truth["utility_0"], truth["utility_1"]).to_pylist()
    signs = {1.0: 1, 0.0: -1}
    signed = [signs[label] * each for label, each in zip(column(toys, "label_0"), gap, strict=True) if label != 0.5]
    assert found["oracle-gap"]["value"] == pytest.approx(sum(signed) / len(signed), abs=1e-6)
    assert found["coverage"]["value"] <= 1


def test_what_an_arm_covers_is_what_its_pairs_say(toys: Toys, done: dict[str, Any]) -> None:
    arm = by_name(done)["half"]
    pairs = subset_pairs(toys.store, get_subset(toys.store, arm["subsets"]["0"]))
    prompts = set(pairs["prompt"].to_pylist())
    share = len(prompts) / len(set(column(toys, "caption")))
    assert arm["judged"]["coverage"]["value"] == pytest.approx(share)
    counts = pc.value_counts(pairs["prompt_id"]).field("counts").to_numpy() / len(pairs)
    assert arm["judged"]["effective-prompts"]["value"] == pytest.approx(2 ** -(counts * pa_log2(counts)).sum())


def test_knowing_more_is_better_and_the_bottom_is_worse_than_chance(done: dict[str, Any]) -> None:
    gap = {name: arm["judged"]["oracle-gap"]["value"] for name, arm in by_name(done).items()}
    assert gap["knows"] > gap["half"] > gap["random"] > gap["random-labels"] > gap["bottom"]
    right = {name: arm["judged"]["oracle-labels"] for name, arm in by_name(done).items()}
    assert right["knows"]["value"] == 1.0 and 0.8 < right["knows"]["low"] < 1.0
    assert right["bottom"]["value"] == 0.0
    assert right["knows"]["over_random"]["low"] > 0 > right["bottom"]["over_random"]["high"]
    assert right["random"]["over_random"] is None
    assert len(set(right["random"]["seeds"].values())) == 2


def test_random_labels_are_those_of_the_very_pairs_of_random(toys: Toys, done: dict[str, Any]) -> None:
    arms = by_name(done)
    for seed in ("0", "1"):
        same, tossed = (
            subset_pairs(toys.store, get_subset(toys.store, arms[name]["subsets"][seed]))
            for name in ("random", "random-labels")
        )
        assert same["pair_id"].equals(tossed["pair_id"])
        kept = pc.sum(pc.equal(same["winner_uid"], tossed["winner_uid"])).as_py()
        assert 5 <= kept <= 25  # of 30 fair tosses: further off than 3.6 standard deviations is no toss


def test_a_judge_that_an_arm_selects_by_is_marked(done: dict[str, Any]) -> None:
    marked = {name: arm["judged"]["agrees:half"]["circular"] for name, arm in by_name(done).items()}
    assert [name for name, circular in marked.items() if circular] == ["half"]
    assert not any(arm["judged"]["coverage"]["circular"] for arm in done["arms"])


def test_a_judge_that_every_arm_selects_by_is_refused(toys: Toys) -> None:
    for metric in ({"name": "margin", "scorer": "half"}, {"name": "margin", "scorer": "half", "normalize": "minmax"}):
        asked = spec("vain", arms=[{"name": "a", "metric": metric}], judges=["agrees:half"])
        with pytest.raises(UsageError, match="judge agrees:half of study vain judges by what every arm selects by"):
            begin_study(toys.store, asked)


def test_an_arm_that_filters_by_the_votes_of_all_scorers_uses_them_all(toys: Toys) -> None:
    where = {"field": "agree_votes", "op": "gte", "value": 2}
    asked = spec("votes", arms=[{"name": "a", "metric": {"name": "random"}, "where": where}], controls=["random"])
    [arm, control] = plan_of(toys.store, asked).arms
    assert arm["scorers"] == ["guess", "half", "knows"]
    assert control["scorers"] == []
    # What is known without a table, of another store's subset, is no less.
    table = PairTable(toys.store, toys.snapshot, "toys")
    for name in table.fields:
        recipe = parse_recipe({"name": "r", "dataset": "toys", "take": {"count": 1}, "metric": {"name": "random"},
                               "where": {"field": name, "op": "isnull", "value": False}})  # fmt: skip
        assert used_of(recipe, table.scorers) == used_scorers(recipe, table), name
    for field, used in (("label_confidence", arm["scorers"]), ("half.zgap", ["half"]), ("in_cycle", [])):
        chosen = {"name": "a", "metric": {"name": "field", "field": field}}
        assert plan_of(toys.store, spec("field", arms=[chosen], controls=["random"])).arms[0]["scorers"] == used


def test_a_killed_study_goes_on_with_the_cells_that_are_open(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = {"controls": ["random"], "seeds": [4], "judges": ["coverage", "agrees:guess"]}
    asked = spec("killed", **judged)
    made: list[str] = []
    create = module.create_subset

    def counted(store: Any, recipe: Any, snapshot: Any, **more: Any) -> Any:
        made.append(recipe.name)
        return create(store, recipe, snapshot, **more)

    def kill(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("cells", 2):
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "create_subset", counted)
    with pytest.raises(KeyboardInterrupt):
        run_study(toys.store, asked, progress=kill)
    study = get_study(toys.store, "killed")
    assert [(cell.arm, cell.seed) for cell in filled(toys.store, study)] == [("knows", 4), ("half", 4)]
    assert study_result(toys.store, study) is None
    # A newer snapshot does not move a study that was begun.
    score_all(toys.store, "toys", {"late@33333333": lambda _: 1.0})
    seen: list[tuple[str, int, int]] = []
    study, result = run_study(toys.store, asked, progress=lambda *told: seen.append(told))
    assert made == ["killed.knows", "killed.half", "killed.random"]
    assert seen[0] == ("cells", 0, 3) and seen[-1] == ("cells", 3, 3)
    assert study.snapshot.n == toys.snapshot.n == result["study"]["snapshot"]["n"]
    assert run_study(toys.store, asked)[1] == result
    assert len(made) == 3
    # Uninterrupted it says the same.
    whole = run_study(toys.store, spec("killed-not", **judged, snapshot=toys.snapshot.n))[1]
    for one, other in zip(result["arms"], whole["arms"], strict=True):
        assert one["judged"] == other["judged"]


def test_an_arm_with_too_few_pairs_or_none_is_told(toys: Toys) -> None:
    few = {"name": "few", "metric": {"name": "random"}, "where": {"field": "row", "op": "lt", "value": 5}}
    told = {"controls": ["random"], "seeds": [0], "snapshot": 1, "judges": ["coverage"]}
    result = run_study(toys.store, spec("few", arms=[few], **told))[1]
    [note] = by_name(result)["few"]["notes"]
    assert "of 30 pairs are there to take" in note
    none = few | {"name": "none", "where": {"field": "row", "op": "lt", "value": 0}}
    with pytest.raises(EmptySubsetError, match="arm none of study nothing is empty"):
        run_study(toys.store, spec("nothing", arms=[none], controls=[], snapshot=1))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"arms": [{"name": "a", "metric": {"name": "margin", "scorer": "knaws"}}]},
            UnknownNameError,
            "arm a of study",
        ),
        ({"arms": [{"name": "a", "metric": {"name": "margim", "scorer": "half"}}]}, UnknownNameError, "arm a of study"),
        ({"arms": [{"name": "a", "metric": {"name": "margin"}}]}, UsageError, "arm a of study"),
        ({"arms": [{"name": "a", "metric": {"name": "random"}, "wher": {}}]}, UsageError, "arm a of study .*'wher'"),
        ({"controls": [{"control": "top-margin", "scorer": "knaws"}]}, UnknownNameError, "control top-margin .*knows"),
        ({"arms": [{"name": "a", "metric": {"name": "random"}}]}, UsageError, "control top-margin: it has no scorer"),
        ({"judges": ["coverag"]}, UnknownNameError, "unknown judge 'coverag'; did you mean coverage"),
        ({"judges": ["agrees:hal"]}, UnknownNameError, "agrees:hal.*half"),
        ({"judges": ["oracle"]}, UsageError, "judge oracle judges trained models, and study bad trains none"),
        ({"train": {"steps": 1}, "judges": ["coverage"]}, UsageError, "trains models that no judge looks at"),
        ({"dataset": "dogs"}, PairsieveError, "dogs"),
        ({"snapshot": 99}, PairsieveError, "99"),
    ],
)
def test_what_does_not_fit_the_snapshot_is_refused_before_anything_is_recorded(
    toys: Toys, changes: dict[str, Any], error: type[PairsieveError], said: str
) -> None:
    with pytest.raises(error, match=said) as refused:
        run_study(toys.store, spec("bad", **changes))
    assert "\n" not in str(refused.value)
    assert "bad" not in {study.name for study in list_studies(toys.store)}


def test_the_oracle_does_not_judge_other_worlds(toys: Toys, dataset: Any, store: Any) -> None:
    score_all(store, "pets", {"half@11111111": len, "other@22222222": len})
    arms = [{"name": "a", "metric": {"name": "margin", "scorer": "half"}}]
    pets = {"dataset": "pets", "budget": {"count": 3}, "arms": arms}
    with pytest.raises(UsageError, match="judge oracle-labels knows Toyworld only, and pets is not of it"):
        begin_study(store, spec("wild", **pets, judges=["oracle-labels"]))
    study = begin_study(store, spec("tame", **pets))
    assert [judge["name"] for judge in study.judges] == ["coverage", "effective-prompts"]


def test_models_are_trained_on_every_arm_and_judged_by_who_did_not_select(
    toys: Toys, tiny_model: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(read_prompts("toyworld")[:6]))
    training = {
        "model": str(tiny_model),
        "steps": 1,
        "batch": 2,
        "device": "cpu",
        "evaluation": {"prompts": str(prompts), "images_per_prompt": 1, "inference_steps": 1},
    }
    changes = {"seeds": [0], "controls": ["random"], "budget": {"count": 4}, "train": training, "snapshot": 1}
    arms = [{"name": "knows", "metric": {"name": "margin", "scorer": "knows"}}]
    asked = spec("trained", **changes, arms=arms, judges=["oracle-labels", "oracle", "preference-toy"])
    told: list[str] = []
    study, result = run_study(toys.store, asked, progress=lambda stage, *_: told.append(stage))
    runs = [arm["runs"]["0"] for arm in result["arms"]]
    assert set(runs) == {run.run_id for run in list_runs(toys.store)} and len(runs) == 2
    assert {"cells", "train", "base", "run"} <= set(told)
    for run, arm in zip(runs, result["arms"], strict=True):
        [key] = toys.store.list(f"runs/{run}/evaluation")
        rates = {judge["judge"]: judge["rate"] for judge in json.loads(toys.store.get(key))["judges"]}
        assert set(rates) == {"oracle", "preference-toy"}
        for judge, rate in rates.items():
            assert arm["judged"][judge]["value"] == pytest.approx(rate)
            assert arm["judged"][judge]["low"] <= rate <= arm["judged"][judge]["high"]
    assert study.judges[2]["id"].startswith("preference-toy@")
    assert audit(toys.store, now=None).ok


def test_the_command_prints_the_table_writes_the_report_and_lists_studies(toys: Toys, tmp_path: Path) -> None:
    arms = [{"name": "knows", "metric": {"name": "margin", "scorer": "knows"}}]
    asked = spec(
        "spoken", arms=arms, controls=["random"], snapshot=1, seeds=[0, 7], judges=["oracle-labels", "coverage"]
    )
    file = tmp_path / "study.json"
    file.write_text(json.dumps(asked.canonical()))
    store = ("--store", toys.store.workspace)
    planned = pairsieve(*store, "study", file, "--plan")
    assert planned.status == 0 and "random" in planned.out
    assert "spoken" not in {study.name for study in list_studies(toys.store)}
    ran = pairsieve(*store, "study", file, "--out", tmp_path / "report")
    assert ran.status == 0, ran.err
    assert "oracle-labels, percent" in ran.out and "over random" in ran.out
    result = json.loads((tmp_path / "report" / "result.json").read_text())
    assert pairsieve(*store, "study", file, "--json").json() == result
    assert pairsieve(*store, "studies", "spoken", "--json").json() == result
    assert {"spoken"} <= {study["name"] for study in pairsieve(*store, "studies", "--json").json()}
    assert (tmp_path / "report" / "table.csv").read_text() == to_csv(result)
    lines = to_csv(result).splitlines()
    assert len(lines) == 1 + len(result["arms"]) * len(result["judges"])
    html = (tmp_path / "report" / "report.html").read_text()
    assert html.count("<svg") == len(result["judges"]) + 1
    lost = pairsieve(*store, "studies", "spokn")
    assert lost.status == 2 and "did you mean spoken" in lost.err


def test_names_in_a_report_are_text_and_not_markup(done: dict[str, Any]) -> None:
    odd = json.loads(json.dumps(done).replace("oracle-gap", "<b>gap"))
    assert "<b>gap" not in page(odd) and "&lt;b&gt;gap" in page(odd)


def column(toys: Toys, name: str) -> list[Any]:
    """A column of the source, in its order."""
    return list(pq.read_table(toys.written.data, columns=[name])[name].to_pylist())


def pa_log2(shares: Any) -> Any:
    return pc.log2(pa.array(shares)).to_numpy()
