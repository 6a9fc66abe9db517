"""Names, fingerprints and third parties."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranking.errors import PairsieveError, UnknownNameError, UsageError
from workers.scorers import registry
from workers.scorers.base import PRECISIONS, ScoreBatch, ScorerSpec, View
from workers.scorers.registry import choose, resolve
from workers.scorers.runtime import Runtime, pick_device
from workers.scorers.weights import Asset, assets_in

SPEC = ScorerSpec(name="mine", summary="a test's", factory="nowhere:nothing")


def test_an_unknown_scorer_is_refused_with_a_near_name() -> None:
    with pytest.raises(UnknownNameError, match="technical") as caught:
        resolve(["tecnical"])
    assert caught.value.exit_code == 2


def test_resolving_names_loads_no_torch() -> None:
    code = (
        "import sys; from workers.scorers.registry import resolve, specs; "
        "resolve(list(specs())); print('torch' in sys.modules)"
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


@pytest.mark.parametrize("taken", ["technical", "image-facts", "embedding-clip-l14"])
def test_no_package_can_claim_a_name_that_is_taken(monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    class Entry:
        name = "rival"

        def load(self) -> tuple[ScorerSpec, ...]:
            return (replace(SPEC, name=taken),)

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()])
    registry.installed.cache_clear()
    try:
        with pytest.raises(PairsieveError, match=taken) as caught:
            registry.specs()
        assert caught.value.code == "scorer-name-taken"
    finally:
        registry.installed.cache_clear()


def test_a_third_partys_scorer_is_one_spec_and_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "third"

        def load(self) -> tuple[ScorerSpec, ...]:
            return (ScorerSpec("width", "pixels across", f"{__name__}:width", views=(View(f"{__name__}:across"),)),)

    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()])
    registry.installed.cache_clear()
    try:
        committee = registry.load_committee(["width"])
        scores = committee.score_pictures([Image.new("RGB", (5, 2)), Image.new("RGB", (9, 2))], ["a", "b"])
        np.testing.assert_array_equal(scores[committee.scorer_ids["width"]], [5, 9])
    finally:
        registry.installed.cache_clear()


def across(image: Image.Image) -> np.ndarray:
    return np.array(image.width, np.float32)


def width(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    del runtime
    return lambda batch: np.stack(batch.view(spec.views[0]))[batch.image_of]


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
