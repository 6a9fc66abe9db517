"""What one optimiser step measured. Sums stay on the device while its forward passes run and come over in one
transfer, so that measuring never makes the device wait."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from ranking.names import nulls_for_nan
from training.losses.outcome import Outcome
from training.methods.objective import Passes
from training.transfer import moved

_COLUMNS: Final = (
    "pairs",
    "loss",
    "correct",
    "negative",
    "logit",
    "logit_squared",
    "factor",
    "winner_error",
    "loser_error",
    "winner_change",
    "loser_change",
    "distance",
)
_CLOCKS: Final = ("seconds", "pairs_per_second", "memory")


@dataclass(frozen=True)
class ByTime:
    """A step's numbers apart by when in diffusion time they were taken: ranges of equal width of the draws' places in
    [0, 1), the least noise first. A range that no pair fell into is NaN in all but `pairs`."""

    pairs: tuple[int, ...]
    implicit_accuracy: tuple[float, ...]
    winner_change: tuple[float, ...]
    loser_change: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """One optimiser step, over all its forward passes and processes. Numbers are means over its `pairs`; NaN where the
    method has no such thing.

    Errors are denoising errors, means over a latent's elements; a `change` is the policy's error less the reference's,
    at the same time and noise, so below 0 where the policy has become better. `logit` is positive where the pair's
    order is learnt; `logit_spread` is its standard deviation over the pairs, `negative_share` the share below 0, and
    `implicit_accuracy` the share above (an exact 0 counts one half). `gradient_factor` is the mean of σ(−logit), by
    which the sigmoid losses scale a pair's gradient: ½ at the start, near 0 where a pair has nothing more to teach.

    `kl_proxy` is (winner_change + loser_change) / 2. The KL divergence of two denoisers' steps is proportional to
    their `prediction_distance` ‖ε_θ − ε_ref‖² (Wallace et al. 2023, arXiv 2311.12908, eq. 12 to 14, whose weights by
    time are 1 here), and where images come from the reference itself, so that ε_ref is the noise's conditional mean,
    the expected change of error is that distance. On other images it is a proxy and may fall below 0: the policy then
    explains them better than its reference does. The distance itself, mean over elements and both images, is known
    where both models ran.

    `gradient_norm` is taken before clipping; `skipped` says that fp16 overflowed and the weights stayed as they were.
    `seconds` is wall clock, `memory` in bytes: the most that tensors took on the accelerator so far, on the CPU the
    process's peak of resident memory. Steps are equal where all but these clocks are, NaN being equal to NaN.
    """

    step: int
    loss: float
    implicit_accuracy: float
    logit: float
    logit_spread: float
    negative_share: float
    gradient_factor: float
    winner_error: float
    loser_error: float
    winner_change: float
    loser_change: float
    kl_proxy: float
    prediction_distance: float
    learning_rate: float
    gradient_norm: float
    skipped: bool
    pairs: int
    seconds: float
    pairs_per_second: float
    memory: float
    by_time: ByTime

    def record(self) -> dict[str, Any]:
        """The step as plain JSON; None stands for NaN and infinities."""
        record: dict[str, Any] = nulls_for_nan(asdict(self))
        return record

    def measured(self) -> dict[str, Any]:
        """The same without the clocks: what follows from config and data alone."""
        return {name: value for name, value in self.record().items() if name not in _CLOCKS}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.measured() == other.measured()

    __hash__ = None  # type: ignore[assignment]


class Meter:
    """Sums what forward passes measured until the step is closed.

    `sums` is (time buckets, columns), float64 where the device has it (MPS has not), and None before the first pass.
    All are sums over pairs, so those of several processes add up.
    """

    def __init__(self, time_buckets: int) -> None:
        self.time_buckets = time_buckets
        self.sums: Tensor | None = None

    def add(self, passes: Passes, outcome: Outcome, uniform: Tensor) -> None:
        """Count a forward pass over B pairs, both images of each or winners alone. `uniform` (B,) are the places in
        time of its draws, in [0, 1)."""
        count = len(passes.weight)
        device = passes.policy.device
        kind = torch.float32 if device.type == "mps" else torch.float64
        unknown = torch.full((count,), math.nan, device=device, dtype=kind)
        distance = logit = unknown
        errors = torch.cat([passes.policy.detach().to(kind), unknown])  # losers that were not run are unknown
        winner, loser = errors[:count], errors[count : 2 * count]
        winner_change = loser_change = unknown
        if passes.reference is not None:
            anchors = torch.cat([passes.reference.detach().to(kind), unknown])
            winner_change, loser_change = winner - anchors[:count], loser - anchors[count : 2 * count]
        if passes.prediction is not None and passes.reference_prediction is not None:
            apart = (passes.prediction.detach().float() - passes.reference_prediction.detach().float()).square()
            distance = apart.flatten(1).mean(1).to(kind).reshape(2, -1).mean(0)
        if outcome.logit is not None:
            logit = outcome.logit.detach().to(kind)
        above, below = (logit > 0).to(kind), (logit < 0).to(kind)
        nothing = logit * 0  # NaN where the logit is, so that shares of unknown logits are unknown
        values = torch.stack(
            [
                torch.ones_like(unknown),
                outcome.losses.detach().to(kind),
                above + 0.5 * (1 - above - below) + nothing,
                below + nothing,
                logit,
                logit.square(),
                torch.sigmoid(-logit),
                winner,
                loser,
                winner_change,
                loser_change,
                distance,
            ],
            dim=1,
        )
        bucket = moved((uniform * self.time_buckets).long().clamp(0, self.time_buckets - 1), device)
        if self.sums is None:
            self.sums = torch.zeros((self.time_buckets, len(_COLUMNS)), device=device, dtype=kind)
        self.sums.index_add_(0, bucket, values)

    def close(
        self,
        *,
        step: int,
        learning_rate: float,
        gradient_norm: float | Tensor,
        seconds: float,
        memory: float = math.nan,
        skipped: bool = False,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> Step:
        """The step, and a meter that is empty again. `reduce` adds `sums` up over processes. The gradient's norm comes
        over with the sums if it is a tensor. Raises ValueError where no pass was added."""
        if self.sums is None:
            raise ValueError("a step without a forward pass has nothing to say")
        sums = self.sums if reduce is None else reduce(self.sums)
        self.sums = None
        norm = torch.as_tensor(gradient_norm, dtype=sums.dtype, device=sums.device)
        *flat, norm_value = torch.cat([sums.flatten(), norm.reshape(1)]).tolist()
        width = len(_COLUMNS)
        rows = [dict(zip(_COLUMNS, flat[at : at + width], strict=True)) for at in range(0, len(flat), width)]
        total = {name: sum(row[name] for row in rows) for name in _COLUMNS}
        pairs = total["pairs"]
        mean = {name: value / pairs for name, value in total.items()}
        variance = mean["logit_squared"] - mean["logit"] ** 2
        return Step(
            step=step,
            loss=mean["loss"],
            implicit_accuracy=mean["correct"],
            logit=mean["logit"],
            logit_spread=math.sqrt(max(0.0, variance)) if math.isfinite(variance) else math.nan,
            negative_share=mean["negative"],
            gradient_factor=mean["factor"],
            winner_error=mean["winner_error"],
            loser_error=mean["loser_error"],
            winner_change=mean["winner_change"],
            loser_change=mean["loser_change"],
            kl_proxy=(mean["winner_change"] + mean["loser_change"]) / 2,
            prediction_distance=mean["distance"],
            learning_rate=learning_rate,
            gradient_norm=norm_value,
            skipped=skipped,
            pairs=round(pairs),
            seconds=seconds,
            pairs_per_second=pairs / seconds if seconds > 0 else math.nan,
            memory=memory,
            by_time=ByTime(
                pairs=tuple(round(row["pairs"]) for row in rows),
                implicit_accuracy=_means(rows, "correct"),
                winner_change=_means(rows, "winner_change"),
                loser_change=_means(rows, "loser_change"),
            ),
        )


def _means(rows: list[dict[str, float]], name: str) -> tuple[float, ...]:
    return tuple(row[name] / row["pairs"] if row["pairs"] else math.nan for row in rows)
