"""A training between its first step and its last: the weights, what moves them, and how both are put aside."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ranking.errors import PairsieveError
from training.compiling import compile_blocks
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Visit
from training.denormals import denormals_flushed
from training.loop.average import Average
from training.loop.gradients import Gradients
from training.loop.launch import make_accelerator, summed
from training.loop.lean import keep_less
from training.loop.optimisers import clips_itself, learning_rate, make_optimiser
from training.loop.sharding import check_shardable, is_sharded, shard, wants_shards
from training.loop.state import State, optimiser_state, put, read, restore_optimiser, whole, write
from training.methods.objective import make_objective
from training.models.base import DiffusionModel
from training.models.lora import adapters_off, add_adapters, let_dropout_work
from training.precision import allow_tf32, autocast, keep_in_half, make_reference, make_scaler
from training.watch.meter import Meter, Step

MOST_SKIPPED = 25
"""Steps in a row that fp16 may skip: halved as often, the largest scale of the loss is far below 1."""


class Training:
    """Trains `model.denoiser` in place against what it was when it came. `step` is the number of the next optimiser
    step, from 0.

    Every process of a run makes one and calls the same methods in the same order; `accelerator` joins them. What a step
    computes depends on config and data, not on how it is cut into forward passes and processes, but for the order of
    floating-point sums.
    """

    def __init__(
        self, model: DiffusionModel, material: Material, config: TrainConfig, *, accelerator: Accelerator | None = None
    ) -> None:
        self.model, self.material, self.config = model, material, config
        self.accelerator = accelerator or make_accelerator(config.device)
        self.step = 0
        self._skipped = 0
        objective = make_objective(config.method)
        if model.device.type == "cuda":
            allow_tf32(config.tf32)
        runs = objective.reference and (config.cache.reference_draws is None or objective.reference_predictions)
        denoiser: Any = model.denoiser
        # Dropout of the networks' own would make policy and reference differ at step 0.
        denoiser.requires_grad_(config.lora is None).eval()
        self._reference: Any = None
        if config.lora is not None:
            add_adapters(denoiser, config.lora, seed=config.seed)
            let_dropout_work(denoiser)
        elif runs:
            self._reference = make_reference(denoiser, config.precision)
        self._keeps_reference = runs
        if config.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
        keep_in_half(denoiser, config.precision)
        if config.compile:
            compile_blocks(denoiser, self._reference)
        elif not wants_shards(self.accelerator):
            keep_less(denoiser)
        if wants_shards(self.accelerator):
            check_shardable(config)
            policy = shard(denoiser, self.accelerator)
        else:
            policy = self.accelerator.prepare_model(denoiser, device_placement=False)
        self._policy: nn.Module = denoiser
        self._optimiser = make_optimiser([each for each in denoiser.parameters() if each.requires_grad], config)
        self._weights = {name: each for name, each in self._policy.named_parameters() if each.requires_grad}
        self._average = Average(self._policy, config.ema) if config.ema is not None else None
        self._scaler = make_scaler(config.precision, model.device)
        self._gradients = Gradients(
            material=material,
            policy=policy,
            reference=self.reference if runs else None,
            objective=objective,
            precision=config.precision,
            scaler=self._scaler,
            accelerator=self.accelerator,
            dropout_seed=config.seed if config.lora is not None and config.lora.dropout else None,
        )
        processes = self.accelerator.num_processes
        self._order = material.order(size=config.batch * config.accumulate * processes, spread=objective.whole_step)
        self._meter = Meter(config.watch.time_buckets)
        self._whole_step = objective.whole_step
        self._followed: int | None = None

    @property
    def denoiser(self) -> nn.Module:
        """What is saved, sampled and evaluated: the averaged weights where the config keeps an average. To be run
        inside `precision()`."""
        return self._policy if self._average is None else self._average.module

    def assembled(self) -> nn.Module:
        """`denoiser`, where it is sharded put together on the CPU, for which every process must ask."""
        if is_sharded(self._policy):
            return self.model.with_weights({name: whole(each) for name, each in self._policy.state_dict().items()})
        return self.denoiser

    def precision(self) -> AbstractContextManager[object]:
        """The context in which `denoiser` and `reference` run, as in training."""
        return autocast(self.config.precision, self.model.device)

    @contextmanager
    def reference(self) -> Iterator[nn.Module]:
        """The reference, for as long as the block lasts: what the training began from. That is a frozen copy, or the
        policy with its adapters off. Raises ValueError where the method has none, or all its errors are cached."""
        if not self._keeps_reference:
            raise ValueError("this training keeps no reference")
        if self._reference is not None:
            yield self._reference
            return
        with adapters_off(self._policy):
            yield self._policy

    def advance(self, *, between: Callable[[], None] | None = None) -> Step:
        """One optimiser step over all its forward passes and processes. `between` is called before each forward pass:
        what it raises leaves weights, optimiser and `step` as they were before the step, but gradients and measured
        sums half-made, so that nothing but `save` is of use then.

        Raises PairsieveError, weights and optimiser untouched, where the loss or its gradient is not finite; in fp16
        such a step is skipped and the loss scaled down, and only many in a row are an error.
        """
        started = time.monotonic()
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        rate = learning_rate(self.config, self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        with denormals_flushed():
            if self._followed != self.step:
                self.material.follow(self._coming())
            mine = self._order.passes(self.step, self.config.batch, processes=processes)[rank]
            self._gradients.add(mine, pairs=self._order.size, meter=self._meter, between=between or _nothing)
            norm = self._clipped()
            scaled = self._scaler.is_enabled()
            # Only fp16 has to look at the norm by itself; else it comes over with what was measured.
            skipped = scaled and not bool(norm.isfinite())
            step = self._meter.close(
                step=self.step,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=time.monotonic() - started,
                memory=_memory(self.model.device),
                skipped=skipped,
                reduce=lambda sums: summed(sums, self.accelerator),
            )
            self._judge(step)
            if not skipped:
                self._optimiser.step()
            if scaled:
                self._scaler.update()
            self._optimiser.zero_grad(set_to_none=True)
            if self._average is not None:
                self._average.follow(self.step)
        self._skipped = self._skipped + 1 if skipped else 0
        self.step += 1
        self._followed = self.step
        return step

    def _coming(self) -> Iterator[Sequence[Visit]]:
        """The forward passes of this process from here to the end, as they will be asked for."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        for step in range(self.step, self.config.steps):
            mine = self._order.passes(step, self.config.batch, processes=processes)[rank]
            # Gradient caching passes over a step twice, unless one pass holds all of it.
            yield from mine * (2 if self._whole_step and len(mine) > 1 else 1)

    def save(self, folder: Path) -> None:
        """Write the whole state: a training that loads it goes on bit for bit on the CPU. All processes call this, one
        writes."""
        weights = {f"weights/{name}": whole(each) for name, each in self._weights.items()}
        tensors, numbers = optimiser_state(self._optimiser, self._weights)
        weights |= {f"optimiser/{name}": value for name, value in tensors.items()}
        if self._average is not None:
            weights |= {f"average/{name}": whole(each) for name, each in self._average.weights.items()}
        if self.accelerator.is_main_process:
            plain = {
                "step": self.step,
                "skipped": self._skipped,
                "updates": self._average.updates if self._average is not None else 0,
                "scaler": self._scaler.state_dict(),
                "optimiser": numbers,
            }
            write(State(weights, plain), folder)
        self.accelerator.wait_for_everyone()

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote. The reference stays what the training began from.

        Raises PairsieveError where the state cannot be read or is of another model or config.
        """
        state = read(folder)
        put(state.of("weights"), self._weights, where=folder)
        put(state.of("average"), self._average.weights if self._average is not None else {}, where=folder)
        plain = state.numbers
        restore_optimiser(self._optimiser, self._weights, tensors=state.of("optimiser"), numbers=plain["optimiser"])
        if self._average is not None:
            self._average.updates = plain["updates"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(plain["scaler"])
        self.step, self._skipped = plain["step"], plain["skipped"]

    def _clipped(self) -> Tensor:
        """The gradient's norm before it is clipped."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(self._optimiser)
        weights = list(self._weights.values())
        norm = get_total_norm([each.grad for each in weights if each.grad is not None])
        if not clips_itself(self.config):
            clip_grads_with_norm_(weights, self.config.max_grad_norm, norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _judge(self, step: Step) -> None:
        if step.skipped and self._skipped + 1 < MOST_SKIPPED:
            return
        if step.skipped:
            raise PairsieveError(
                f"fp16 overflowed in {MOST_SKIPPED} steps in a row, the last of them {step.step}",
                code="training-diverged",
                hint="take precision: bf16, or lower learning_rate or beta",
            )
        if not math.isfinite(step.loss) or not math.isfinite(step.gradient_norm):
            raise PairsieveError(
                f"the loss is {step.loss} and its gradient {step.gradient_norm} at step {step.step}",
                code="training-diverged",
                hint="lower learning_rate or beta",
            )


def _nothing() -> None:
    """What happens between passes where nobody asks."""


def _memory(device: torch.device) -> float:
    """Bytes: the most that tensors took on CUDA so far, on other devices the process's peak of resident memory."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
