"""Makes stores for tests of the service: ingested Pick-a-Pic files with scores from a formula instead of models."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, jpeg, rows, with_raw, write
from PIL import Image
from starlette.testclient import TestClient
from studied import add_study

from ranking.ingest import ingest
from ranking.plan import Plan, create_plan, read_items
from ranking.runs import RunPlan, finish_run, plan_run
from ranking.schema import OK, SCORES
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.snapshots import Snapshot, create_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from service import beside
from service.app import create_app

beside.PATIENCE = 120.0  # of tests, however busy the machine

Formula = Callable[[str, str], "float | None"]
"""(image_uid, prompt) → score, or None for an image that could not be scored."""


def hashed(salt: str, *, spread: float = 1.0, base: float = 0.0) -> Formula:
    """Scores that look random but follow from the image's uid alone."""

    def score(uid: str, _prompt: str) -> float:
        digest = hashlib.sha256(f"{salt}:{uid}".encode()).digest()
        return base + spread * int.from_bytes(digest[:4], "big") / 2**32

    return score


def score_all(store: Store, dataset: str, formulas: dict[str, Formula]) -> Plan:
    """Commit every slice of the dataset by each scorer id."""
    plan = create_plan(store, dataset, formulas)
    for piece in plan.slices:
        items = read_items(store, plan, piece)
        for scorer_id, formula in formulas.items():
            pairs = zip(items["image_uid"].to_pylist(), items["prompt"].to_pylist(), strict=True)
            scores = [formula(uid, prompt) for uid, prompt in pairs]
            table = pa.table(
                {
                    "image_uid": items["image_uid"],
                    "prompt_id": items["prompt_id"],
                    "score": pa.array(scores, pa.float32()),
                    "status": [OK if score is not None else "corrupt" for score in scores],
                },
                schema=SCORES,
            )
            commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt="0" * 32)
    return plan


def default_formulas() -> dict[str, Formula]:
    """Two scorers: `alpha` scores everything, `beta` lacks the images whose uid ends in 7."""
    beta = hashed("beta", spread=20.0, base=-10.0)
    return {
        "alpha@aaaaaaaa": hashed("alpha"),
        "beta@bbbbbbbb": lambda uid, prompt: None if uid.endswith("7") else beta(uid, prompt),
    }


def cut(store: Store, snapshot: Snapshot, *, name: str = "best", count: int = 10, dataset: str = "toy") -> Subset:
    """A subset of the `count` pairs that `alpha` separates most."""
    recipe = {
        "name": name,
        "dataset": dataset,
        "metric": {"name": "margin", "scorer": get_scorer(snapshot)},
        "take": {"count": count},
    }
    return create_subset(store, parse_recipe(recipe), snapshot)


def get_scorer(snapshot: Snapshot) -> str:
    """The first scorer of the snapshot."""
    return next(iter(snapshot.scorers))


def train_nothing(store: Store, subset: Subset, *, steps: int = 40, config: dict[str, Any] | None = None) -> RunPlan:
    """A run that is done, with metrics and an evaluation, without any training."""
    run = plan_run(store, subset.ref, config or {"model": "toyworld", "steps": steps, "evaluation": {"seed": 1}})
    output = f"runs/{run.run_id}/output-0123456789ab"
    lines = [
        {
            "step": step,
            "loss": 0.693 * (1 - 0.6 * step / steps) + 0.05 * ((step * 7919) % 13 - 6) / 6,
            "implicit_accuracy": min(1.0, 0.5 + 0.4 * step / steps + 0.06 * ((step * 104729) % 11 - 5) / 5),
            "learning_rate": 2e-4 * min(1.0, step / 20),
        }
        for step in range(steps)
    ]
    store.put_if_absent(f"{output}/metrics.jsonl", "\n".join(json.dumps(line) for line in lines).encode())
    base, drawn = (put_samples(store, name) for name in ("base", "run"))
    for step in (0, 20, 40):
        put_samples(store, f"step {step}", key=f"runs/{run.run_id}/samples/{step:010d}.parquet")
    judge = {"judge": "oracle", "rate": 0.71, "low": 0.64, "high": 0.78, "wins": 130, "losses": 50, "ties": 12}
    judges = [judge | {"mean_base": 1.404, "mean_run": 1.636}]
    judges.append(judges[0] | {"judge": "preference-toy", "rate": 0.55, "low": 0.47, "high": 0.63})
    evaluation = {"run_id": run.run_id, "settings": {"seed": 1}, "prompts": 24, "images": 192, "judges": judges}
    evaluation |= {"base_samples": base, "run_samples": drawn, "created": "2026-01-01T00:00:00+00:00"}
    store.put_if_absent(
        f"runs/{run.run_id}/evaluation/{'0' * 16}.json",
        json.dumps(evaluation).encode(),
    )
    finish_run(store, run.run_id, {"output": output, "pairs": subset.rows, "last_loss": 0.28, "seconds": 46.0})
    return run


def put_samples(store: Store, name: str, *, key: str | None = None) -> str:
    """Six drawings, two of each of three prompts; returns their key."""
    prompts = [f"prompt {index // 2}" for index in range(6)]
    images = [jpeg(f"{name} {index}") for index in range(6)]
    key = key or f"samples/{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"
    unfinished = store.tmp() / f"samples-{name}"
    pq.write_table(pa.table({"prompt": prompts, "seed": list(range(6)), "image": images}), unfinished)
    store.put_file(key, unfinished)
    return key


HOSTILE_PROMPTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "invoice \u202egnp.exe \u200b\u2066hidden\u2069\x07\x1b[31m",
    "'; DROP TABLE wide_0; -- read_text('/etc/passwd')",
    '=HYPERLINK("http://evil.invalid")\n--\u2028next',
    "عربي ΑΒΓ 漢字 👩\u200d🚀 ﷽",
)


@dataclass(frozen=True)
class Site:
    """A running application over a store with everything in it.

    Datasets: `toy` (60 pairs, every third a tie), `hostile` (a pair for each hostile prompt, a corrupt and a missing
    image, a large one) and `fresh`, which is younger than the snapshot.
    """

    client: TestClient
    store: Store
    snapshot: Snapshot
    plan: Plan
    subset: Subset
    run: RunPlan


def png(side: int) -> bytes:
    """A PNG of side × side."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (30, 90, 160)).save(out, "PNG")
    return out.getvalue()


def hostile_rows() -> list[Row]:
    """The rows of the dataset `hostile`."""
    made = [
        Row(prompt, f"h{index}-a", f"h{index}-b", winner=index % 2, ranking=100 + index)
        for index, prompt in enumerate(HOSTILE_PROMPTS)
    ]
    made[0] = with_raw(made[0], jpg_0=b"this is no picture", jpg_1=None)
    made[1] = with_raw(made[1], jpg_0=png(600))
    return made


def build(root: Path) -> tuple[Store, Snapshot, Plan, Subset, RunPlan]:
    """The store behind a Site."""
    store = Store.open(root / "store")
    write(root / "toy" / "a.parquet", rows(60, prompts=7), row_group_size=16)
    write(root / "hostile" / "a.parquet", hostile_rows())
    write(root / "fresh" / "a.parquet", rows(5, first=1000))
    ingest(store, root / "toy", "toy", slice_items=25)
    ingest(store, root / "hostile", "hostile")
    plan = score_all(store, "toy", default_formulas())
    score_all(store, "hostile", default_formulas())
    snapshot = create_snapshot(store)
    ingest(store, root / "fresh", "fresh")
    subset = cut(store, snapshot)
    add_study(store, subset)
    return store, snapshot, plan, subset, train_nothing(store, subset)


_built: dict[Path, tuple[Store, Snapshot, Plan, Subset, RunPlan]] = {}


@contextmanager
def serving(store: Store) -> Iterator[TestClient]:
    """A client of a fresh application over the store."""
    settings = Settings(store=store.uri)
    with TestClient(
        create_app(settings), base_url="http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False
    ) as client:
        yield client


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Site for the whole session: tests only read from it."""
    root = tmp_path_factory.getbasetemp() / "site"
    if root not in _built:  # each folder of tests has its own application, but they share the store
        _built[root] = build(root)
    store, snapshot, plan, subset, run = _built[root]
    with serving(store) as client:
        yield Site(client, store, snapshot, plan, subset, run)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[TestClient]:
    """A client of an application over an empty store."""
    with serving(Store.open(tmp_path / "empty")) as client:
        yield client
