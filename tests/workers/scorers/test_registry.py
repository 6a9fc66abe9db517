"""Names, fingerprints and third parties."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ranking.errors import PairsieveError, UnknownNameError, UsageError
from workers.scorers import registry
from workers.scorers.base import PRECISIONS, ScorerSpec
from workers.scorers.registry import choose, in_precision, resolve
from workers.scorers.runtime import pick_device
from workers.scorers.weights import Asset, assets_in

SPEC = ScorerSpec(name="mine", summary="a test's", factory="nowhere:nothing")


def test_an_unknown_scorer_is_refused_with_a_near_name() -> None:
    with pytest.raises(UnknownNameError, match="technical") as caught:
        resolve(["tecnical"])
    assert caught.value.exit_code == 2


def test_resolving_names_loads_no_torch() -> None:
    code = (
        "import sys; from workers.scorers.registry import resolve, specs; "
        "resolve([name for name, spec in specs().items() if not spec.missing]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_fingerprint_follows_weights_options_precision_and_code(tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    head.write_bytes(b"first")

    def with_head() -> ScorerSpec:
        return replace(SPEC, assets=(Asset("head.safetensors", path=head),))

    ids = {with_head().scorer_id}
    ids |= {
        replace(with_head(), **change).scorer_id
        for change in ({"options": (("part", "x"),)}, {"precision": "bfloat16"}, {"code_version": 2})
    }
    head.write_bytes(b"second")
    ids.add(with_head().scorer_id)
    assert len(ids) == 5
    assert all(scorer_id.startswith("mine@") for scorer_id in ids)


def test_the_fingerprint_does_not_depend_on_where_the_weights_lie(tmp_path: Path) -> None:
    ids = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "open_clip_config.json").write_text("{}")
        ids.add(replace(SPEC, assets=assets_in(tmp_path / folder)).scorer_id)
    assert len(ids) == 1


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = replace(SPEC, assets=(Asset("absent.safetensors", path=tmp_path / "absent.safetensors"),))
    monkeypatch.setattr(registry, "specs", lambda: {"mine": lost})
    with pytest.raises(PairsieveError, match=r"absent\.safetensors"):
        resolve(["mine"])


@pytest.mark.parametrize("word", ["fp32", "bf16", "fp16"])
def test_a_scorer_is_found_again_by_the_id_that_its_precision_gave_it(word: str) -> None:
    (scorer_id,) = resolve([f"clip-toy:{word}"]).values()
    assert choose(scorer_id).precision == PRECISIONS[word]
    assert (scorer_id == resolve(["clip-toy"])["clip-toy"]) is (word == "fp32")


def test_an_id_that_nothing_here_gives_is_refused() -> None:
    with pytest.raises(PairsieveError, match="other weights, options or code"):
        choose("clip-toy@000000000000")


def test_a_precision_that_is_none_and_one_without_a_tower_are_refused() -> None:
    with pytest.raises(UsageError, match="fp32, bf16, fp16"):
        choose("clip-toy:int3")
    with pytest.raises(UsageError, match="no weights"):
        choose("technical:bf16")


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(PairsieveError, match="--device"):
        pick_device("cuda:99")


def test_one_scorer_in_two_precisions_is_refused_and_named_twice_alike_is_one() -> None:
    with pytest.raises(UsageError, match="clip-toy is named in two precisions"):
        resolve(["clip-toy", "clip-toy:bf16"])
    assert list(resolve(["clip-toy", "clip-toy:fp32"])) == ["clip-toy"]


def test_one_precision_is_for_all_that_have_weights_and_do_not_name_their_own() -> None:
    names = in_precision(["technical", "clip-toy", "aesthetic-toy:fp32"], "bf16")
    assert names == ["technical", "clip-toy:bf16", "aesthetic-toy:fp32"]
    with pytest.raises(UsageError, match="fp32, bf16, fp16"):
        in_precision(["technical"], "bfloat16")
