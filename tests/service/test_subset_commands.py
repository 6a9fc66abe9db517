"""`pairsieve subset diff`, and that the command line and the Python API make the same subsets."""

from pathlib import Path

import pytest
from command_line import pairsieve
from notebook_store import scored_catalog


def test_the_command_line_makes_and_compares_the_subsets_of_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = scored_catalog(tmp_path, "pets", ("sharp",))
    monkeypatch.setenv("PAIRSIEVE_STORE", catalog.store.uri)
    ranking = catalog.dataset("pets").rank("margin", scorer="sharp")
    made = ranking.top(3).subset("best")
    options = ("--dataset", "pets", "--metric", "margin", "--scorer", "sharp", "--json")
    same = pairsieve("subset", "create", "best", "--top", "3", *options).json()
    assert (same["version"], same["sha256"]) == (made.record.version, made.record.sha256)
    pairsieve("subset", "create", "more", "--top", "4", *options)
    found = pairsieve("subset", "diff", "best", "more", "--json").json()
    assert (found["common"], found["only_a"], found["only_b"], found["jaccard"]) == (3, 0, 1, 0.75)
    assert {"key": "take.count", "a": 3, "b": 4} in found["recipe"]
    shown = pairsieve("subset", "diff", "best", "more").out
    assert f"3 of {made.ref}" in shown and "take.count" in shown
    refused = pairsieve("subset", "diff", "best", "mroe")
    assert refused.status == 2
    assert "unknown subset 'mroe'; did you mean more" in refused.err
