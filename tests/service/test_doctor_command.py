"""`pairsieve doctor`: what it says of this machine, and when it fails."""

import json
import subprocess
import sys

import pytest
from command_line import pairsieve

from ranking.store.blobs import Store


def test_scorers_without_weights_can_run_and_need_no_torch(store: Store) -> None:
    code = (
        "import sys\nfrom service import cli\nsys.argv = ['pairsieve', 'doctor', '--scorers', 'technical', '--json']\n"
        "cli.main.__globals__['app'](standalone_mode=False)\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (row,) = said["scorers"]
    assert (row["runs"], row["weights"], row["memory_bytes"]) == (True, "none needed", 0)
    assert row["images_per_second"] == said["decoding"] > 0
    assert (said["device"], said["devices"]) == (None, [])
    assert [service["ok"] for service in said["services"]] == [True, True]


def test_what_is_missing_fails_only_when_it_was_asked_for(store: Store) -> None:
    every = pairsieve("doctor", "--no-measure", "--json")
    assert every.status == 0, every.err
    rows = {row["scorer"]: row for row in every.json()["scorers"]}
    assert rows["clip-toy"]["runs"] and not rows["pickscore-v1"]["runs"]
    assert rows["pickscore-v1"]["pull"] == "pairsieve scorers pull pickscore-v1"
    assert rows["pickscore-v1"]["images_per_second"] is None
    asked = pairsieve("doctor", "--no-measure", "--scorers", "technical,pickscore-v1,clip-l14")
    assert asked.status == 1
    assert asked.err.startswith("error: pickscore-v1 cannot run here (and 1 more): the weights pickscore-v1/")
    assert asked.err.count("\n") == 1
    assert pairsieve("doctor", "--no-measure", "--scorers", "technical,clip-toy").status == 0


def test_the_page_fits_a_narrow_terminal_and_names_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = pairsieve("doctor", "--scorers", "clip-toy,pickscore-v1:bf16").out
    assert max(map(len, said.splitlines())) <= 80
    words = " ".join(said.split())
    assert "pairsieve scorers pull pickscore-v1" in words
    assert "* An estimate: " in words and "GFLOP/s in bf16" in words and "one block of ViT-L/14" in words
    assert "3.0 GB" in words  # 986.1 M parameters of two bytes, and 1 GB beside


@pytest.mark.parametrize("option", ["--scorers=pikscore", "--device=gpu"])
def test_a_name_that_is_none_is_refused(store: Store, option: str) -> None:
    done = pairsieve("doctor", option)
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
