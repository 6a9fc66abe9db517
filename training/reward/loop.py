"""The training loop that heads, CLIPs and Toyworld's own model share: seeded batches, warm-up and cosine, early
stopping, checkpoints to go on from. Knows pairs of positions and a learner; no images, no store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.errors import PairsieveError, UsageError
from training.progress import Progress, silent
from training.reward.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from training.reward.config import RewardConfig
from training.reward.objective import Numbers, Pairs, preference_loss

TRAIN = "reward"
"""The stage that progress is told under."""

_AT_ONCE = 512


@dataclass(frozen=True)
class Group:
    """Parameters with a peak learning rate of their own."""

    parameters: list[torch.nn.Parameter]
    rate: float
    decay: float


@dataclass(frozen=True)
class Learner:
    """What is trained. `scores(images, prompts, mirrored)` gives float32 (n,) of positions of images and prompts, with
    gradients where they are on; `module` holds the parameters, of which `groups` are trained."""

    module: torch.nn.Module
    scores: Callable[[Numbers, Numbers, bool], Tensor]
    groups: tuple[Group, ...]
    device: str = "cpu"

    def gaps(self, pairs: Pairs, *, mirrored: bool = False) -> Tensor:
        """Scores of image 0 minus those of image 1, (n,). Both sides go through the model together."""
        both = self.scores(
            np.concatenate([pairs.image_0, pairs.image_1]), np.concatenate([pairs.prompt, pairs.prompt]), mirrored
        )
        first, second = both.chunk(2)
        return first - second


@dataclass
class Fitted:
    """How a training went. `curve` has a row for each look at the validation split: step, loss and accuracy there, mean
    training loss and gradient norm since the last look, learning rate. `ended` says in words why it stopped."""

    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0
    ended: str = ""


def fit(
    learner: Learner,
    training: Pairs,
    validation: Pairs | None,
    config: RewardConfig,
    *,
    folder: Path | None = None,
    identity: str = "",
    progress: Progress | None = None,
) -> Fitted:
    """Train `learner.module` in place and leave it with the weights that are kept.

    With `folder` its state is written there now and then, and a training of the same `identity` goes on from it, to
    the same bits on a CPU. Raises PairsieveError where loss or gradient stop being finite before any weights were
    worth keeping, and where memory does not suffice.
    """
    tell = progress or silent
    state = _State(learner, config)
    found = read_checkpoint(folder, identity) if folder is not None else None
    if found is not None:
        state.restore(found)
    with _clear_memory_errors():
        if not state.fitted.curve:
            state.look(learner, validation, rate=0.0)  # the base, before the first step
        while state.step < config.steps and not state.fitted.ended:
            tell(TRAIN, state.step, config.steps)
            rate = _rate(state.step, config)
            if not _take_step(learner, training, config, state, rate):
                break
            if state.step % config.evaluate_every == 0 or state.step == config.steps:
                state.look(learner, validation, rate=rate * config.rate)
            if folder is not None and (
                state.step % config.checkpoint_every == 0 or state.step == config.steps or state.fitted.ended
            ):
                write_checkpoint(folder, identity, state.saved())
    tell(TRAIN, config.steps, config.steps)
    state.finish(validation is not None)
    return state.fitted


def batch_rows(count: int, step: int, *, size: int, seed: int) -> Numbers:
    """The rows of a step's batch, int64 (size,): an endless row of shuffles of `count`, each fixed by seed and epoch,
    cut into batches. No state: any step can be asked for."""
    wanted = np.arange(step * size, (step + 1) * size)
    rows = np.empty(size, np.int64)
    for epoch in np.unique(wanted // count):
        mine = wanted // count == epoch
        rows[mine] = np.random.default_rng([seed, int(epoch)]).permutation(count)[wanted[mine] % count]
    return rows


def gaps_of(learner: Learner, pairs: Pairs) -> NDArray[np.float64]:
    """The gaps of many pairs without gradients, float64 (n,)."""
    learner.module.eval()
    parts = [np.zeros(0)]
    with torch.no_grad():
        for start in range(0, len(pairs), _AT_ONCE):
            part = pairs.take(np.arange(start, min(start + _AT_ONCE, len(pairs))))
            parts.append(learner.gaps(part).double().cpu().numpy())
    return np.concatenate(parts)


def loss_and_accuracy(gaps: NDArray[np.float64], pairs: Pairs) -> tuple[float, float]:
    """The weighted mean cross-entropy, and the share of pairs with a winner that the gaps order so (a gap of 0 is half
    right; NaN without any such pair)."""
    losses = np.logaddexp(0.0, -gaps) * pairs.label + np.logaddexp(0.0, gaps) * (1 - pairs.label)
    decided = pairs.label != 0.5
    right = (np.sign(gaps) == np.sign(pairs.label - 0.5)) + 0.5 * (gaps == 0)
    accuracy = float(right[decided].mean()) if decided.any() else math.nan
    return float((losses * pairs.weight).sum() / pairs.weight.sum()), accuracy


class _State:
    """Everything that the next step depends on."""

    def __init__(self, learner: Learner, config: RewardConfig) -> None:
        if config.precision == "fp16" and not learner.device.startswith("cuda"):
            raise UsageError("precision fp16 trains on CUDA only", hint="take bf16 or fp32")
        self.config, self.learner = config, learner
        groups = [{"params": g.parameters, "lr": 0.0, "weight_decay": g.decay} for g in learner.groups]
        self.optimiser = torch.optim.AdamW(groups)
        self.scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
        self.step = 0
        self.fitted = Fitted()
        self.best: dict[str, Tensor] = {}
        self.best_loss = math.inf
        self.recent: list[tuple[float, float]] = []

    def trained(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        wanted = {id(parameter) for group in self.learner.groups for parameter in group.parameters}
        return {n: p.detach() for n, p in self.learner.module.named_parameters() if id(p) in wanted}

    def look(self, learner: Learner, validation: Pairs | None, *, rate: float) -> None:
        """Measure on the validation split, remember the best weights, and end where nothing gets better."""
        row = {"step": float(self.step), "learning_rate": rate}
        if self.recent:
            losses, norms = np.array(self.recent).T
            row |= {"training_loss": float(losses.mean()), "gradient_norm": float(norms.mean())}
            self.recent = []
        if validation is not None:
            row["loss"], row["accuracy"] = loss_and_accuracy(gaps_of(learner, validation), validation)
        self.fitted.curve.append(row)
        if validation is None:
            return
        if row["loss"] < self.best_loss:
            self.best_loss, self.fitted.best_step = row["loss"], self.step
            self.best = {name: value.cpu().clone() for name, value in self.trained().items()}
        looks = sum(each["step"] > self.fitted.best_step for each in self.fitted.curve)
        if self.config.patience and looks >= self.config.patience:
            self.fitted.ended = f"{looks} looks without a better one than that at step {self.fitted.best_step}"

    def finish(self, validated: bool) -> None:
        """Put the weights that are kept into the module."""
        self.fitted.steps = self.step
        if not self.fitted.ended:
            self.fitted.ended = f"all {self.step} steps are done"
        if validated and self.config.keep == "best" and self.best:
            self.put(self.best)
        else:
            self.fitted.best_step = self.step

    def put(self, values: dict[str, Tensor]) -> None:
        """Set trained parameters."""
        with torch.no_grad():
            for name, parameter in self.trained().items():
                parameter.copy_(values[name])

    def saved(self) -> Checkpoint:
        """All of it, to go on from."""
        moments = {
            f"{index}.{name}": value
            for index, entry in self.optimiser.state_dict()["state"].items()
            for name, value in entry.items()
        }
        facts = {
            "step": self.step,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "recent": self.recent,
            "scaler": self.scaler.state_dict(),
            "fitted": vars(self.fitted),
        }
        return Checkpoint(self.trained(), self.best, moments, facts)

    def restore(self, found: Checkpoint) -> None:
        """Be as `saved` was."""
        self.put(found.weights)
        self.best = found.best
        entries: dict[int, dict[str, Any]] = {}
        for key, value in found.moments.items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": entries})
        self.step = found.facts["step"]
        self.best_loss = math.inf if found.facts["best_loss"] is None else found.facts["best_loss"]
        self.recent = [(loss, norm) for loss, norm in found.facts["recent"]]
        self.scaler.load_state_dict(found.facts["scaler"])
        self.fitted = Fitted(**found.facts["fitted"])


def _take_step(learner: Learner, training: Pairs, config: RewardConfig, state: _State, rate: float) -> bool:
    """One optimiser step; False where it was not finite, and the weights are then as they were kept last."""
    rows = batch_rows(len(training), state.step, size=config.batch * config.accumulate, seed=config.seed)
    chosen = training.take(rows)
    for values, group in zip(state.optimiser.param_groups, learner.groups, strict=True):
        values["lr"] = group.rate * rate
    learner.module.train()
    state.optimiser.zero_grad(set_to_none=True)
    total, summed = float(chosen.weight.sum()), 0.0
    for start in range(0, len(chosen), config.batch):
        part = chosen.take(np.arange(start, min(start + config.batch, len(chosen))))
        gap = learner.gaps(part, mirrored=config.flip and state.step % 2 == 1)
        label, weight = (torch.from_numpy(each).to(learner.device, torch.float32) for each in (part.label, part.weight))
        loss = preference_loss(gap, label, weight, total=total, smoothing=config.label_smoothing)
        state.scaler.scale(loss).backward()
        summed += float(loss.detach())
    state.scaler.unscale_(state.optimiser)
    norm = float(
        torch.nn.utils.clip_grad_norm_([p for g in learner.groups for p in g.parameters], config.max_grad_norm)
    )
    overflown = config.precision == "fp16" and not math.isfinite(norm)  # the scaler leaves the step out
    if not math.isfinite(summed) or (not math.isfinite(norm) and not overflown):
        what = f"the loss is {summed} and its gradient {norm} at step {state.step}"
        if state.fitted.best_step == 0 or not state.best:
            raise PairsieveError(what, code="training-diverged", hint="lower learning_rate")
        state.fitted.ended = f"{what}; kept is what validation liked best before"
        state.put(state.best)
        return False
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.step += 1
    state.recent.append((summed, norm if math.isfinite(norm) else 0.0))
    return True


def _rate(step: int, config: RewardConfig) -> float:
    """The learning rate of a step as a share of the peak: linear up to it, then half a cosine down to `final_rate`."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done))


@contextmanager
def _clear_memory_errors() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "allocate memory" not in str(error):
            raise
        raise PairsieveError(
            "there is not enough memory to train with this batch",
            code="out-of-memory",
            hint="halve batch and double accumulate, or set checkpointing: true",
        ) from error
