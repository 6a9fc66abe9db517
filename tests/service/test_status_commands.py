"""`pairsieve runs`: all of them in a table, one with its numbers."""

from pathlib import Path

import pytest
from command_line import pairsieve
from made_steps import steps
from service_factory import Site, build, cut

from ranking.checkpoints import put_checkpoint
from ranking.runs import plan_run, record_run_attempt
from training.watch.live import tell


def test_a_run_that_is_done_says_where_its_model_lies(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_STORE", site.store.uri)
    run = site.run.run_id
    found = pairsieve("runs", run, "--json").json()
    assert (found["state"], found["steps_done"], found["steps"]) == ("done", 40, 40)
    assert found["latest"]["step"] == 39 and found["checkpoint"] is None
    assert (Path(found["output"]) / "metrics.jsonl").is_file()
    told = pairsieve("runs", run).out
    assert "40 of 40" in told and found["output"] in told and found["headline"] in told
    assert run in pairsieve("runs").out


def test_a_run_that_goes_on_says_how_far_it_is_and_from_where_it_would_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot, *_ = build(tmp_path)
    monkeypatch.setenv("PAIRSIEVE_STORE", store.uri)
    run = plan_run(store, cut(store, snapshot, count=8).ref, {"model": "toyworld", "steps": 200}).run_id
    attempt = record_run_attempt(store, run, worker="me")
    tell(store, run, attempt=attempt, steps=200, records=steps(30, lambda _: {"loss": 0.625}))
    (store.tmp() / "state").mkdir(parents=True)
    (store.tmp() / "state" / "weights").write_bytes(bytes(1500))
    put_checkpoint(store, run, 25, store.tmp() / "state", attempt=attempt, facts={})
    found = pairsieve("runs", run, "--json").json()
    assert (found["state"], found["steps_done"], found["worker"]) == ("running", 30, "me")
    assert found["checkpoint"] == {"step": 25, "bytes": 1500} and found["output"] is None
    told = pairsieve("runs", run).out
    assert "30 of 200" in told and "loss 0.625" in told and "at step 25, 1.5 kB" in told


def test_a_run_that_is_none_is_told_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_STORE", site.store.uri)
    for wrong, status in (("0123456789abcdef", 1), ("../../etc", 2)):
        shell = pairsieve("runs", wrong)
        assert shell.status == status and shell.err.count("\n") == 1 and wrong in shell.err
