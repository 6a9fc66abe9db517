"""From pairs in the store to a scorer in the store: load, train, measure on held-out prompts, register. Each part is
done elsewhere; here is their order, and what a killed training finds again."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ranking.errors import PairsieveError, UsageError
from ranking.names import canonical_json, check_name, sha256_hex
from ranking.store.blobs import Store
from ranking.store.refs import pin
from ranking.store.shards import SCORE_SHARD, kind_of_name
from ranking.trained import TrainedScorer, described, get_trained, list_trained, put_trained, trained_versions
from training.denormals import denormals_flushed
from training.progress import Progress, silent
from training.reward.clip import Pixels, clip_base, clip_learner, clip_options, save_clip, trainable_clip
from training.reward.compare import Comparison, Sides, compare
from training.reward.config import RewardConfig
from training.reward.examples import Examples, check_examples, load_examples
from training.reward.head import head_learner, save_head
from training.reward.loop import Fitted, Learner, fit
from training.reward.material import load_embeddings, load_pictures
from training.reward.report import write_report
from training.reward.split import SPLITS
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.registry import choose, installed
from workers.scorers.runtime import Runtime, pick_device
from workers.scorers.trained import CLIP, HEAD, spec_of

CODE_VERSION = 1
"""Raise it when the same config and pairs give another model than before."""

MEASURE = "measure"
_ITEMS_AT_ONCE = 1024


@dataclass(frozen=True)
class _Trained:
    """What a kind of training left: how it went, its files, the record's options, and scores of all pairs that are held
    out, by the scorer as it was written and by the base (n, 2)."""

    fitted: Fitted
    files: dict[str, Path]
    options: dict[str, Any]
    scores: Sides
    base_scores: Sides
    parameters: int


def train_reward(
    store: Store, source: str, name: str, config: RewardConfig, *, progress: Progress | None = None
) -> TrainedScorer:
    """Train on a dataset or a subset NAME@V and register the result as the newest version of scorer `name`; the version
    that is there, where the same was trained before.

    The same command goes on with a training that was killed. Raises UsageError for a name that an installed scorer has
    and for a base of the wrong kind, PairsieveError for too few pairs, ties only, a loss that is not finite before
    anything was learnt, and too little memory. Nothing is registered then.
    """
    tell = progress or silent
    check_reward_name(name)
    base = _base(store, config)
    examples = load_examples(store, source, config)
    check_examples(examples)
    training = sha256_hex(
        canonical_json([CODE_VERSION, config.identity() | {"base": base.scorer_id}, examples.digest()])
    )
    for version in reversed(trained_versions(store, name)):
        found = get_trained(store, name, version=version)
        if found.training == training:
            return found
    # Before images are read, so that no collection retires what the result cites.
    pin(store, "reward", training[:16], examples.snapshot, why=f"scorer {name} on {source}")
    with _workplace(store, name, training) as folder, denormals_flushed():
        kind = _train_head if config.kind == "head" else _train_clip
        examples, left = kind(store, examples, base, config, folder, training, tell)
        return _register(store, name, training, examples, base, config, left, folder)


def check_reward_name(name: str) -> None:
    """UsageError unless a trained scorer may have this name."""
    check_name("scorer", name)
    if name in installed().specs or kind_of_name(name) is not SCORE_SHARD:
        raise UsageError(
            f"the name {name} is taken by an installed scorer"
            if name in installed().specs
            else f"the name {name} is kept for {kind_of_name(name).what}",
            code="scorer-name-taken",
            hint="choose another --name",
        )


def _base(store: Store, config: RewardConfig) -> ScorerSpec:
    if config.kind == "clip":
        base = clip_base(config.base, store)
    else:
        base = choose(config.base, store=store)
        if base.embedding is None:
            known = [spec.name for spec in installed().specs.values() if spec.embedding is not None]
            raise UsageError(
                f"the base {config.base} keeps no embedding that a head could read",
                hint=f"take one of {', '.join(known)}, or kind: clip",
            )
    if base.missing:
        raise PairsieveError(
            f"the weights of the base {config.base} are not on this machine: {base.missing[0].name}",
            code="weights-missing",
            hint=f"fetch them with `pairsieve scorers pull {base.name}`",
        )
    return base


def _train_head(
    store: Store,
    examples: Examples,
    base: ScorerSpec,
    config: RewardConfig,
    folder: Path,
    training: str,
    tell: Progress,
) -> tuple[Examples, _Trained]:
    shown, said = load_embeddings(store, examples, base, Runtime(pick_device(config.device)), progress=tell)
    examples = _without_missing(examples, set(shown.uids), shown.failed)
    assert shown.values is not None
    learner = head_learner(shown.values, said, examples.training(config), config)
    base_scores = np.stack(
        [
            (shown.values[side] * said[examples.pairs.prompt]).sum(1).astype(np.float64)
            for side in (examples.pairs.image_0, examples.pairs.image_1)
        ],
        1,
    )
    fitted = _fit(learner, examples, config, folder, training, tell)
    files = save_head(learner, folder / "files")
    learner.module.eval()
    with torch.no_grad():
        sides = [
            learner.scores(side, examples.pairs.prompt, False).double().numpy()
            for side in (examples.pairs.image_0, examples.pairs.image_1)
        ]
    parameters = sum(p.numel() for p in learner.module.parameters())
    return examples, _Trained(fitted, files, {"head": config.head}, np.stack(sides, 1), base_scores, parameters)


def _train_clip(
    store: Store,
    examples: Examples,
    base: ScorerSpec,
    config: RewardConfig,
    folder: Path,
    training: str,
    tell: Progress,
) -> tuple[Examples, _Trained]:
    device = pick_device(config.device)
    (view,) = base.views
    shown = load_pictures(store, examples, view, folder, progress=tell)
    examples = _without_missing(examples, set(shown.uids), shown.failed)
    assert shown.values is not None
    clip = trainable_clip(base, device)
    place = {uid: row for row, uid in enumerate(shown.uids)}
    rows = np.array([place[uid] for uid in examples.images], np.int64)
    pixels = Pixels(shown.values, rows, clip.tokenize(examples.prompts))
    base_scores = _scores_of(base, examples, pixels, device, tell)
    learner = clip_learner(clip, pixels, config, device)
    fitted = _fit(learner, examples, config, folder, training, tell)
    files = save_clip(clip, base, folder / "files", half=config.save == "fp16")
    options = clip_options(base)
    parameters = sum(p.numel() for p in clip.model.parameters())
    record = _record("trained", CLIP, training, "", options, files, {})
    spec = spec_of(record, lambda file: files[file.name], lambda name: choose(name, store=store))
    scores = _scores_of(spec, examples, pixels, device, tell)
    return examples, _Trained(fitted, files, options, scores, base_scores, parameters)


def _fit(
    learner: Learner, examples: Examples, config: RewardConfig, folder: Path, training: str, tell: Progress
) -> Fitted:
    return fit(
        learner,
        examples.training(config),
        examples.validation(config),
        config,
        folder=folder,
        identity=training,
        progress=tell,
    )


def _scores_of(spec: ScorerSpec, examples: Examples, pixels: Pixels, device: str, tell: Progress) -> Sides:
    """Scores of the held-out pairs by a scorer's own code, as `pairsieve score` runs it; NaN for the other pairs."""
    module, function = spec.factory.split(":")
    score = getattr(import_module(module), function)(spec, Runtime(device))
    scores = np.full((len(examples.pairs), 2), np.nan)
    held_out = np.flatnonzero(examples.split != SPLITS.index("training"))
    (view,) = spec.views
    for start in range(0, len(held_out), _ITEMS_AT_ONCE):
        rows = held_out[start : start + _ITEMS_AT_ONCE]
        part = examples.pairs.take(rows)
        images, image_of = np.unique(np.concatenate([part.image_0, part.image_1]), return_inverse=True)
        prompts, prompt_of = np.unique(np.concatenate([part.prompt, part.prompt]), return_inverse=True)
        batch = Batch(
            prompts=[examples.prompts[place] for place in prompts],
            image_of=image_of,
            prompt_of=prompt_of,
            images=len(images),
            views={view: list(pixels.pictures[pixels.rows[images]])},
        )
        scores[rows] = score(batch).astype(np.float64).reshape(2, -1).T
        tell(MEASURE, min(start + _ITEMS_AT_ONCE, len(held_out)), len(held_out))
    return scores


def _without_missing(examples: Examples, there: set[str], failed: dict[str, int]) -> Examples:
    kept = examples.with_images(there)
    if not there:
        told = ", ".join(f"{count} {status}" for status, count in failed.items())
        raise PairsieveError(
            f"no image of {examples.source} can be used ({told})",
            code="no-images",
            hint=f"check the sources of dataset {examples.dataset}",
        )
    check_examples(kept)
    return kept


def _register(
    store: Store,
    name: str,
    training: str,
    examples: Examples,
    base: ScorerSpec,
    config: RewardConfig,
    left: _Trained,
    folder: Path,
) -> TrainedScorer:
    comparison = compare(examples, left.scores, left.base_scores, seen=_seen(store, examples, config))
    counts = {split: len(examples.part(split)) for split in SPLITS}
    version = max(trained_versions(store, name), default=0) + 1
    facts = {
        "source": examples.source,
        "dataset": examples.dataset,
        "snapshot": {"n": examples.snapshot.n, "sha": examples.snapshot.sha},
        "pairs": counts,
        "prompts": {split: len(np.unique(examples.pairs.prompt[examples.part(split)])) for split in SPLITS},
        "left_out": examples.left_out,
        "base": config.base,
        "parameters": left.parameters,
        "config": config.identity(),
        "steps": left.fitted.steps,
        "best_step": left.fitted.best_step,
        "ended": left.fitted.ended,
        "accuracies": _headline(comparison),
    }
    what = "CLIP fine-tuned" if config.kind == "clip" else f"{config.head} head on {config.base} trained"
    papers = write_report(folder / "papers", f"{name} v{version}", facts, left.fitted.curve, comparison)
    return put_trained(
        store,
        name=name,
        version=version,
        kind=CLIP if config.kind == "clip" else HEAD,
        training=training,
        summary=f"{what} on {counts['training']:,} pairs of {examples.source}",
        base=base.scorer_id if config.kind == "head" else "",
        code_version=CODE_VERSION,
        options=left.options,
        files=left.files,
        papers=papers,
        facts=facts,
    )


def _seen(store: Store, examples: Examples, config: RewardConfig) -> frozenset[str]:
    """Scorers trained here on pairs of the same dataset that were split in another way."""
    split = ("seed", "validation", "test")
    mine = [config.identity()[key] for key in split]
    return frozenset(
        each.name
        for each in list_trained(store)
        if each.facts["dataset"] == examples.dataset and [each.facts["config"][key] for key in split] != mine
    )


def _headline(comparison: Comparison) -> dict[str, Any]:
    (trained,) = (each for each in comparison.plain()["judged"] if each["role"] == "trained")
    return {protocol: found["value"] for protocol, found in trained["accuracies"].items()}


def _record(
    name: str,
    kind: str,
    training: str,
    base: str,
    options: dict[str, Any],
    files: dict[str, Path],
    facts: dict[str, Any],
) -> TrainedScorer:
    """What the store will say, for a look at the scorer before it is there."""
    plain = json.loads(canonical_json(options))
    return TrainedScorer(
        name, 0, kind, training, "", base, CODE_VERSION, plain, files=described(files), papers=(), facts=facts
    )


@contextmanager
def _workplace(store: Store, name: str, training: str) -> Iterator[Path]:
    """The folder of this training on this machine, for one process at a time; gone once the scorer is registered."""
    folder = store.tmp() / f"reward-{training[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PairsieveError(
                f"scorer {name} is being trained on this machine already", code="in-hand", hint="wait for it"
            ) from error
        try:
            yield folder
        except PairsieveError:
            shutil.rmtree(folder, ignore_errors=True)  # it would end so again
            raise
        shutil.rmtree(folder, ignore_errors=True)
