"""What speaks against a run is said before a weight or a picture is read."""

from pathlib import Path
from typing import Any

import pytest

from ranking.checkpoints import put_checkpoint
from ranking.errors import PairsieveError
from ranking.names import sha256_file
from ranking.runs import list_runs, plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training import intent
from training.config import parse_config
from training.intent import look


def values(base: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(base), "device": "cpu", "batch": 4, "steps": 3, "warmup": 0, "evaluation": None} | more


def test_a_run_is_told_in_numbers_that_follow_from_shapes(store: Store, subset: Subset, tiny_model: Path) -> None:
    config = values(tiny_model, accumulate=3, ema={}, cache={"reference_draws": 5})
    found = look(store, subset.ref, parse_config(config)).budget
    assert (found.pairs, found.effective_batch, found.steps) == (subset.rows, 12, 3)
    assert found.epochs == pytest.approx(36 / subset.rows)
    assert found.trained == found.parameters > 1000
    # float32 weights, gradients and average; AdamW keeps two float32 of each; no reference runs where it is cached.
    memory = found.memory
    assert (memory.weights, memory.gradients, memory.average) == (4 * found.trained,) * 3
    assert (memory.optimiser, memory.frozen) == (8 * found.trained, 0)
    assert memory.activations > 0
    # A checkpoint has weights, moments and average, and two lie there while one replaces the other.
    assert found.disk.checkpoints == 2 * found.trained * (4 + 8 + 4)
    assert found.disk.reference == subset.rows * 5 * 8
    assert list_runs(store) == [], "nothing is planned by looking"


def test_checkpointing_and_adapters_take_less_memory(store: Store, subset: Subset, tiny_model: Path) -> None:
    def memory(**more: Any) -> Any:
        return look(store, subset.ref, parse_config(values(tiny_model, **more))).budget.memory

    plain = memory()
    assert memory(gradient_checkpointing=True).activations < plain.activations
    assert memory(batch=8).activations == 2 * plain.activations
    lora = memory(lora={"rank": 2})
    assert lora.gradients < plain.gradients and lora.frozen == plain.weights


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"model": "/nowhere/model"}, "/nowhere/model"),
        ({"method": "rpo", "batch": 1}, "1 pair"),
        ({"method": "rpo"}, "clip-l14"),  # its weights are not here
        ({"evaluation": {"prompts": "/nowhere.txt"}}, "nowhere.txt"),
        ({"evaluation": {"judges": ["magic"]}}, "magic"),
        ({"evaluation": {"ties": {"magic": 1.0}}}, "magic, which is no judge"),
        ({"evaluation": {"diversity": "technical"}}, "technical has no embedding"),
        ({"evaluation": {"held_out": {}}}, "no held-out pairs"),
        ({"evaluation": {"held_out": {"subset": "dogs"}}}, "dogs"),
        ({"data": {"empty_prompt": "zeros"}}, "empty_prompt"),
        ({"data": {"resolution": 33}}, "resolution"),
        ({"lora": {"targets": ["nothing"]}}, "nothing"),
    ],
)
def test_what_speaks_against_it_is_one_line(
    store: Store, subset: Subset, tiny_model: Path, more: dict[str, Any], expected: str
) -> None:
    with pytest.raises(PairsieveError, match=expected) as caught:
        look(store, subset.ref, parse_config(values(tiny_model, **more)))
    assert "\n" not in str(caught.value)


def test_pairs_whose_hash_differs_are_refused_before_the_model_is_looked_at(store: Store, subset: Subset) -> None:
    path = store.local(subset.pairs_key)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert sha256_file(path) != subset.sha256
    with pytest.raises(PairsieveError, match="sha256"):
        look(store, subset.ref, parse_config(values(Path("/nowhere"))))


def test_a_disk_without_room_is_told_with_what_it_lacks(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = intent.shutil.disk_usage
    monkeypatch.setattr(intent.shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(PairsieveError, match=r"take about \d.* [kM]B, and .* has room for 1\.0 kB") as caught:
        look(store, subset.ref, parse_config(values(tiny_model)))
    assert caught.value.code == "store-unusable", "a worker tries such a run again"


def test_what_a_run_has_put_aside_already_needs_no_room_again(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a run that was stopped on a disk that is nearly full could not go on, and fewer checkpoints are
    another run."""
    config = parse_config(values(tiny_model))
    disk = look(store, subset.ref, config).budget.disk
    run = plan_run(store, subset.ref, config.model_dump(mode="json"))
    left = disk.model + disk.caches + 100
    real = intent.shutil.disk_usage
    monkeypatch.setattr(intent.shutil, "disk_usage", lambda path: real(path)._replace(free=left))
    with pytest.raises(PairsieveError, match="checkpoints, the model and caches take"):
        look(store, subset.ref, config)
    folder = store.tmp() / "a checkpoint"
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(bytes(disk.checkpoints))
    put_checkpoint(store, run.run_id, 1, folder, attempt="0" * 12, facts={})
    look(store, subset.ref, config)
