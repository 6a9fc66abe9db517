"""Names, fingerprints and third parties."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ranking.errors import PairsieveError, UnknownNameError
from workers.scorers import registry
from workers.scorers.base import ScorerSpec
from workers.scorers.registry import pick_device, resolve

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
    ids = {replace(SPEC, head=head).scorer_id}
    ids |= {
        replace(SPEC, head=head, **change).scorer_id
        for change in ({"options": (("part", "x"),)}, {"precision": "bfloat16"}, {"code_version": 2})
    }
    head.write_bytes(b"second")
    ids.add(replace(SPEC, head=head).scorer_id)
    assert len(ids) == 5
    assert all(scorer_id.startswith("mine@") for scorer_id in ids)


def test_the_fingerprint_does_not_depend_on_where_the_weights_lie(tmp_path: Path) -> None:
    ids = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "open_clip_config.json").write_text("{}")
        ids.add(replace(SPEC, tower=tmp_path / folder).scorer_id)
    assert len(ids) == 1


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = replace(SPEC, head=tmp_path / "absent.safetensors")
    monkeypatch.setattr(registry, "specs", lambda: {"mine": lost})
    with pytest.raises(PairsieveError, match=r"absent\.safetensors"):
        resolve(["mine"])


@pytest.mark.parametrize("taken", ["technical", "image-facts"])
def test_no_package_can_claim_a_name_that_is_taken(monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    class Entry:
        name = "rival"

        def load(self) -> tuple[ScorerSpec, ...]:
            return (replace(SPEC, name=taken),)

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()])
    registry.specs.cache_clear()
    try:
        with pytest.raises(PairsieveError, match=taken) as caught:
            registry.specs()
        assert caught.value.code == "scorer-name-taken"
    finally:
        registry.specs.cache_clear()


def test_a_third_partys_scorer_is_one_spec_and_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from PIL import Image

    class Entry:
        name = "third"

        def load(self) -> tuple[ScorerSpec, ...]:
            return (ScorerSpec(name="width", summary="pixels across", factory=f"{__name__}:width"),)

    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()])
    registry.specs.cache_clear()
    try:
        committee = registry.load_committee(["width"])
        scores = committee.score([Image.new("RGB", (5, 2)), Image.new("RGB", (9, 2))], ["a", "b"])
        np.testing.assert_array_equal(scores[committee.scorer_ids["width"]], [5, 9])
    finally:
        registry.specs.cache_clear()


def width(spec: ScorerSpec, device: str):  # type: ignore[no-untyped-def]
    import numpy as np

    del spec, device
    return lambda batch: np.array([image.width for image in batch.images], np.float32)


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(PairsieveError, match="--device"):
        pick_device("cuda:99")
