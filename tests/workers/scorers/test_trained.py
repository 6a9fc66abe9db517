"""Scorers that live in the store: heads by their formulas, one tower pass for all, tasks that find them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ranking.datasets import Dataset
from ranking.errors import StoreError
from ranking.plan import create_plan, open_slices
from ranking.store.blobs import Store
from ranking.trained import TrainedScorer, manifest_key, put_trained
from workers.scorers.registry import choose, load_committee, resolve
from workers.scorers.towers import ClipTower
from workers.scorers.trained import HEAD_FILE, head_inputs, head_scores, kept
from workers.tasks import score_slice

PROMPTS = ["a red star on a sand background", "a blue circle on a night background"]
IMAGES = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (64, 64, 3)).astype(np.uint8)) for n in range(2)]


def put_head(store: Store, folder: Path, *, scale: float = 10.0) -> TrainedScorer:
    """A linear head that is `scale` times the cosine: no mean, no deviation, ones on i∘p."""
    folder.mkdir(exist_ok=True)
    weight = torch.cat([torch.zeros(64), torch.full((64,), scale)])
    save_file({"mean": torch.zeros(128), "std": torch.ones(128), "weight": weight}, folder / HEAD_FILE)
    return put_trained(
        store,
        name="mine",
        version=1,
        kind="head",
        training="t",
        summary="a test's",
        base=choose("clip-toy").scorer_id,
        code_version=1,
        options={"head": "linear"},
        files={HEAD_FILE: folder / HEAD_FILE},
        papers={},
        facts={},
    )


def test_heads_are_their_formulas() -> None:
    draws = np.random.default_rng(0)
    image, prompt = draws.normal(size=(2, 5, 3))
    state = {
        name: draws.normal(size=shape)
        for name, shape in {
            "mean": 9, "std": 9, "weight": 9, "matrix": (3, 3), "inner": (4, 9), "bias": 4, "outer": 4
        }.items()
    }  # fmt: skip
    state["std"] = np.abs(state["std"]) + 0.5

    def found(shape: str) -> np.ndarray:
        width = head_inputs(shape, *map(torch.from_numpy, (image, prompt))).shape[1]
        cut = {n: torch.from_numpy(v[:width] if n in ("mean", "std", "weight") else v) for n, v in state.items()}
        return head_scores(cut, shape, torch.from_numpy(image), torch.from_numpy(prompt)).numpy()

    def standard(x: np.ndarray) -> np.ndarray:
        return (x - state["mean"][: x.shape[1]]) / state["std"][: x.shape[1]]

    x = standard(np.concatenate([image, image * prompt], 1))
    assert found("linear") == pytest.approx(x @ state["weight"][:6])
    x = standard(image)
    bilinear = np.array([prompt[row] @ state["matrix"] @ x[row] for row in range(5)])
    assert found("bilinear") == pytest.approx(bilinear + x @ state["weight"][:3])
    x = standard(np.concatenate([image, prompt, image * prompt], 1))
    inner = x @ state["inner"].T + state["bias"]
    normal = torch.distributions.Normal(0.0, 1.0).cdf(torch.from_numpy(inner)).numpy()
    assert found("mlp") == pytest.approx((inner * normal) @ state["outer"] + x @ state["weight"], rel=1e-5)


def test_a_head_shares_the_towers_of_its_base(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_head(store, tmp_path / "made")
    committee = load_committee(["clip-toy", "mine"], "cpu", store=store)
    passes: list[int] = []
    once = ClipTower.images

    def counted(tower: ClipTower, seen: list[np.ndarray]) -> torch.Tensor:
        passes.append(len(seen))
        return once(tower, seen)

    monkeypatch.setattr(ClipTower, "images", counted)
    by_id = committee.score_pictures(IMAGES, PROMPTS)
    scores = {name: by_id[scorer_id] for name, scorer_id in committee.scorer_ids.items()}
    assert passes == [2]
    # Of embeddings as they are kept, in float16: so it is the base's cosine within that.
    assert scores["mine"] == pytest.approx(10 * scores["clip-toy"], abs=2e-2)
    assert not np.array_equal(scores["mine"], 10 * scores["clip-toy"])
    halved = kept(np.array([0.1], np.float32))
    assert halved == pytest.approx([np.float16(0.1)]) and halved.dtype == np.float32


def test_a_task_finds_the_scorers_of_its_store(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    put_head(store, tmp_path / "made")
    plan = create_plan(store, dataset.name, resolve(["mine"], store=store).values())
    for piece in plan.slices:
        score_slice(plan.job_id, piece.unit)
    assert open_slices(store, plan) == []


def test_another_base_or_other_tensors_are_another_scorer(store: Store, tmp_path: Path) -> None:
    put_head(store, tmp_path / "made")
    other = Store.open(tmp_path / "other")
    put_head(other, tmp_path / "made", scale=11.0)
    assert resolve(["mine"], store=store) != resolve(["mine"], store=other)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"kind": "oracle"}, "a kind 'oracle' that this Pairsieve does not know"),
        ({"kind": "clip", "options": {"tower": {}, "view": ["os:system", [], 1]}}, "os:system, which is none of ours"),
    ],
)
def test_a_record_picks_code_of_ours_and_cannot_name_any(
    store: Store, tmp_path: Path, change: dict[str, object], line: str
) -> None:
    put_head(store, tmp_path / "made")
    key = manifest_key("mine", 1)
    record = json.loads(store.get(key))
    store.delete(key)
    store.put_if_absent(key, json.dumps(record | change).encode())
    with pytest.raises(StoreError, match=line):
        choose("mine", store=store)
