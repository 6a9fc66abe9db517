"""Did the run help? The run's model and its base draw the same prompts from the same seeds, and judges compare.

Images are kept in the store under a hash of what made them, so a base model is drawn once for all its runs.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from ranking.errors import NotFoundError, PairsieveError, UsageError
from ranking.names import canonical_json, parse_json, sha256_hex, utc_now
from ranking.runs import get_run, run_result, run_state
from ranking.store.blobs import Store
from training.blocks import TOYWORLD, EvaluationConfig
from training.config import parse_config
from training.models.base import DiffusionModel
from training.models.load import load_model
from training.progress import Progress, silent
from workers.scorers.registry import load_committee, resolve
from workers.scorers.runtime import pick_device

ORACLE = "oracle"
_RESAMPLES = 2000


@dataclass(frozen=True)
class WinRate:
    """The run against its base by one judge. `rate` counts a tie one half; `low` and `high` bound 95 %.

    The interval is a bootstrap over prompts, because images of one prompt are not independent. `credits` has the rate
    of each prompt, in the order in which they were drawn, so that two runs can be compared prompt by prompt; it is
    empty in records older than it.
    """

    judge: str
    rate: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    mean_base: float
    mean_run: float
    credits: tuple[float, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """One comparison: its settings, how many images, where the samples are, and what each judge says."""

    run_id: str
    settings: dict[str, Any]
    prompts: int
    images: int
    base_samples: str
    run_samples: str
    judges: tuple[WinRate, ...]
    created: str


@dataclass(frozen=True)
class Samples:
    """Drawn images with the prompt and seed of each, and the key that they are stored under."""

    key: str
    prompts: list[str]
    seeds: list[int]
    images: list[Image.Image]


def evaluate(
    store: Store,
    run_id: str,
    settings: EvaluationConfig | None = None,
    *,
    output: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a finished run with its base; a comparison that was made before is read, not made again.

    `output` is the store folder of a trained model whose run is not marked as done yet; else the run's own.
    Raises NotFoundError for a run that is not done, UsageError for prompts that cannot be read or judged.
    """
    plan = get_run(store, run_id)
    if output is None and run_state(store, run_id) != "done":
        raise NotFoundError(f"run {run_id} is not done", hint="train it first")
    config = parse_config(plan.config, where=f"run {run_id}")
    settings = settings or config.evaluation or EvaluationConfig()
    prompts = read_prompts(settings.prompts)
    scorers = [judge for judge in settings.judges if judge != ORACLE]
    ids = resolve(scorers, store=store)
    content = settings.model_dump() | {
        "prompts": prompts,
        "judges": sorted(ids.values()),
        "oracle": ORACLE in settings.judges,
    }
    key = f"runs/{run_id}/evaluation/{sha256_hex(canonical_json(content))[:16]}.json"
    if store.exists(key):
        return _read(store, key)

    chosen = pick_device(device)
    model = load_model(config.model, device=chosen)
    output = output or run_result(store, run_id)["output"]
    tell = progress or silent
    base = draw(store, model, None, prompts, settings, on_images=lambda d, t: tell("base", d, t))
    run = draw(store, model, output, prompts, settings, on_images=lambda d, t: tell("run", d, t))

    before, after = (_judge(samples, settings.judges, chosen, store) for samples in (base, run))
    evaluation = Evaluation(
        run_id=run_id,
        settings=settings.model_dump(mode="json"),
        prompts=len(prompts),
        images=len(base.images),
        base_samples=base.key,
        run_samples=run.key,
        judges=tuple(
            win_rate(judge, before[judge], after[judge], base.prompts, margin=_margin(judge))
            for judge in settings.judges
        ),
        created=utc_now(),
    )
    store.put_if_absent(key, canonical_json(asdict(evaluation)))
    return _read(store, key)


def list_evaluations(store: Store, run_id: str) -> list[Evaluation]:
    """Every evaluation of a run, oldest first."""
    found = [_read(store, key) for key in store.list(f"runs/{run_id}/evaluation")]
    return sorted(found, key=lambda evaluation: evaluation.created)


def read_prompts(source: str) -> list[str]:
    """The prompts of a text file (one a line, blank lines left out), or Toyworld's held-out prompts."""
    if source == TOYWORLD:
        from training.toyworld.world import held_out_scenes

        return [scene.prompt for scene in held_out_scenes()]
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompts file {source} cannot be read ({error})") from error
    prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise UsageError(f"the prompts file {source} holds no prompt", hint="write one a line")
    return prompts


def draw(
    store: Store,
    model: DiffusionModel,
    output: str | None,
    prompts: list[str],
    settings: EvaluationConfig,
    *,
    on_images: Callable[[int, int], None] | None = None,
) -> Samples:
    """Samples of the base model (`output` None) or of a run's output folder, drawn now unless the store has them."""
    repeated = [prompt for prompt in prompts for _ in range(settings.images_per_prompt)]
    seeds = [settings.seed + i for i in range(len(repeated))]
    made_by = {
        "model": model.fingerprint,
        "output": output,
        "prompts": prompts,
        "images_per_prompt": settings.images_per_prompt,
        "steps": settings.inference_steps,
        "guidance": settings.guidance,
        "seed": settings.seed,
    }
    key = f"samples/{sha256_hex(canonical_json(made_by))[:24]}.parquet"
    if not store.exists(key):
        denoiser = model.denoiser if output is None else model.load_trained(store.local_folder(output))
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            if on_images:
                on_images(done, len(repeated))

        pixels = model.sample(
            denoiser,
            repeated,
            seeds,
            steps=settings.inference_steps,
            guidance=settings.guidance,
            on_images=count,
        )
        table = pa.table({"prompt": repeated, "seed": seeds, "image": [_png(image) for image in pixels]})
        unfinished = store.tmp() / f"samples-{sha256_hex(canonical_json(made_by))[:24]}-{utc_now()}"
        pq.write_table(table, unfinished)
        store.put_file(key, unfinished)
    return read_samples(store, key)


def read_samples(store: Store, key: str) -> Samples:
    """Stored samples. Raises NotFoundError where there are none under this key."""
    if not store.exists(key):
        raise NotFoundError(f"there are no samples {key}")
    table = pq.read_table(store.local(key))
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in table["image"].to_pylist()]
    return Samples(key, table["prompt"].to_pylist(), table["seed"].to_pylist(), images)


def win_rate(
    judge: str,
    base: NDArray[np.float32],
    run: NDArray[np.float32],
    prompts: list[str],
    *,
    margin: float = 0.0,
    seed: int = 0,
) -> WinRate:
    """Win rate of `run` over `base` (scores of equal prompts and seeds), a gap of at most `margin` being a tie.

    The 95 % interval is the percentile bootstrap over prompts, 2000 resamples, seeded.
    """
    gap = np.asarray(run, np.float64) - np.asarray(base, np.float64)
    credit = np.where(gap > margin, 1.0, np.where(gap < -margin, 0.0, 0.5))
    names = sorted(set(prompts))
    place = {name: i for i, name in enumerate(names)}
    group = np.array([place[prompt] for prompt in prompts])
    totals = np.bincount(group, credit, len(names))
    counts = np.bincount(group, minlength=len(names))
    picks = np.random.default_rng(seed).integers(0, len(names), (_RESAMPLES, len(names)))
    rates = totals[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return WinRate(
        judge=judge,
        rate=float(credit.mean()),
        low=float(low),
        high=float(high),
        wins=int((credit == 1).sum()),
        losses=int((credit == 0).sum()),
        ties=int((credit == 0.5).sum()),
        mean_base=float(np.mean(base, dtype=np.float64)),
        mean_run=float(np.mean(run, dtype=np.float64)),
        credits=tuple(float(totals[place[name]] / counts[place[name]]) for name in dict.fromkeys(prompts)),
    )


def _judge(samples: Samples, judges: tuple[str, ...], device: str, store: Store) -> dict[str, NDArray[np.float32]]:
    scores: dict[str, NDArray[np.float32]] = {}
    names = [judge for judge in judges if judge != ORACLE]
    if names:
        committee = load_committee(names, device, store=store)
        by_id = committee.score_pictures(samples.images, samples.prompts)
        scores = {name: by_id[scorer_id] for name, scorer_id in committee.scorer_ids.items()}
    if ORACLE in judges:
        from training.toyworld import oracle

        try:
            pixels = np.stack([np.asarray(image) for image in samples.images])
            scores[ORACLE] = oracle.judge(pixels, samples.prompts).utility
        except ValueError as error:
            raise UsageError(
                f"the oracle cannot judge these prompts ({error})", hint="choose scorers as judges"
            ) from error
    for name, values in scores.items():
        if not np.isfinite(values).all():
            raise PairsieveError(f"the judge {name} gave a score that is no number", code="judge-failed")
    return scores


def _margin(judge: str) -> float:
    if judge != ORACLE:
        return 0.0
    from training.toyworld.oracle import TIE_MARGIN

    return TIE_MARGIN


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _read(store: Store, key: str) -> Evaluation:
    values = parse_json(store.get(key), where=key)
    return Evaluation(**values | {"judges": tuple(_win_rate(judge) for judge in values["judges"])})


def _win_rate(record: dict[str, Any]) -> WinRate:
    return WinRate(**record | {"credits": tuple(record.get("credits", ()))})
