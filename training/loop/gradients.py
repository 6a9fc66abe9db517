"""The gradient of an optimiser step, the same however the step is cut into forward passes and shared by processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from training.data.batch import PairBatch
from training.data.material import Material
from training.data.order import Visit
from training.loop.launch import gathered
from training.losses.outcome import Outcome
from training.methods.objective import Objective, Passes
from training.methods.whole_step import joined, parts
from training.passes import forward
from training.precision import Precision
from training.watch.meter import Meter

Reference = Callable[[], AbstractContextManager[nn.Module]]


@dataclass(frozen=True)
class Gradients:
    """Adds the gradient of a step's loss, a mean over all its pairs, to the policy's weights. `policy` is the denoiser
    as accelerate prepared it, whose gradients are means over processes once the step is through. With a `dropout_seed`
    what a pass drops follows from that and its visits, so that it drops the same when it runs again."""

    material: Material
    policy: nn.Module
    reference: Reference | None
    objective: Objective
    precision: Precision
    scaler: torch.amp.GradScaler
    accelerator: Accelerator
    dropout_seed: int | None = None

    def add(self, mine: Sequence[Sequence[Visit]], *, pairs: int, meter: Meter, between: Callable[[], None]) -> None:
        """`mine` are this process's forward passes out of all that a step's `pairs` take; what they measure goes to the
        meter. `between` is called before each."""
        if self.objective.whole_step:
            self._of_whole_step(mine, meter, between)
        else:
            self._pass_by_pass(mine, pairs, meter, between)

    def _pass_by_pass(
        self, mine: Sequence[Sequence[Visit]], pairs: int, meter: Meter, between: Callable[[], None]
    ) -> None:
        for place, visits in enumerate(mine):
            between()
            batch = self.material.batch(visits)
            with self._synchronised(place == len(mine) - 1):
                passes = self._forward(visits, batch, self.objective)
                outcome = self.objective.loss(passes)
                # By pairs, since the passes of a step need not be of one size.
                self._backward(outcome.loss * (len(batch) / pairs))
            meter.add(passes, outcome, batch.uniform)

    def _of_whole_step(self, mine: Sequence[Sequence[Visit]], meter: Meter, between: Callable[[], None]) -> None:
        """Gradient caching, as `training.methods.whole_step` tells it. A single pass keeps its graph and runs once."""
        once = len(mine) == 1
        held: list[Passes] = []
        uniform: list[Tensor] = []
        for visits in mine:
            between()
            batch = self.material.batch(visits)
            with nullcontext() if once else torch.no_grad():
                passes = self._forward(visits, batch, self.objective)
            # Predictions of a whole step are large, and only their errors are compared.
            held.append(passes if once else _errors(passes))
            uniform.append(batch.uniform)
        local = joined(held)
        everyone = _gathered(local, self.accelerator)
        outcome, slopes = self.objective.slopes(joined(everyone))
        sizes = [len(each.weight) for each in everyone]
        rank = self.accelerator.process_index
        again = replace(self.objective, reference=False, reference_predictions=False)
        own = parts(parts(slopes, sizes)[rank], [len(visits) for visits in mine])
        for place, (visits, part) in enumerate(zip(mine, own, strict=True)):
            between()
            with self._synchronised(place == len(mine) - 1):
                passes = held[0] if once else self._forward(visits, self.material.batch(visits), again)
                self._backward(self.objective.carrier(passes, part))
        meter.add(held[0] if once else local, _part(outcome, sizes, rank), torch.cat(uniform))

    def _forward(self, visits: Sequence[Visit], batch: PairBatch, objective: Objective) -> Passes:
        reference = self.reference() if self.reference is not None else None
        with self._dropping(visits):
            return forward(
                self.material.model, self.policy, reference, batch, objective=objective, precision=self.precision
            )

    @contextmanager
    def _dropping(self, visits: Sequence[Visit]) -> Iterator[None]:
        if self.dropout_seed is None:
            yield
            return
        name = f"{self.dropout_seed}:{[(visit.pair, visit.number) for visit in visits]}"
        device = self.material.model.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1)
            yield

    def _backward(self, loss: Tensor) -> None:
        # Processes average their gradients, and shares of a sum are to be summed.
        self.scaler.scale(loss * self.accelerator.num_processes).backward()

    def _synchronised(self, last: bool) -> AbstractContextManager[object]:
        if isinstance(self.policy, FSDPModule):
            self.policy.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self.policy)


def _errors(passes: Passes) -> Passes:
    return replace(passes, prediction=None, target=None, reference_prediction=None)


def _gathered(passes: Passes, accelerator: Accelerator) -> list[Passes]:
    """Each process's passes, on each, without predictions."""
    columns: dict[str, list[Tensor]] = {}
    for field in fields(passes):
        value: Tensor | None = getattr(passes, field.name)
        if value is not None:
            columns[field.name] = gathered(value, accelerator)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return [Passes(**{"reference": None} | row) for row in rows]


def _part(outcome: Outcome, sizes: Sequence[int], rank: int) -> Outcome:
    """What a process's own pairs have of the outcome of all."""
    logit = None if outcome.logit is None else outcome.logit.split(list(sizes))[rank]
    return replace(outcome, losses=outcome.losses.split(list(sizes))[rank], logit=logit)
