"""What a training is about to do, as people read it before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from service.console import out
from service.dashboard.text import size
from training.progress import roughly

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.intent import Intent
    from training.loop.budget import Budget
    from training.loop.hours import Hours


def plan_of(intent: Intent, hours: Hours | None, *, run: str, state: str) -> dict[str, Any]:
    """The plan as plain JSON: bytes, counts, seconds and the whole config."""
    return {
        "run": run,
        "state": state,
        "subset": intent.subset.ref,
        "sha256": intent.subset.sha256,
        "from": intent.url,
        "snapshot": intent.subset.snapshot.n,
        "model": {
            "name": intent.description.name,
            "family": intent.description.family,
            "prediction": intent.description.prediction,
            "commit": intent.description.commit,
        },
        "device": intent.device,
        "budget": intent.budget.plain(),
        "seconds": None if hours is None else asdict(hours) | {"total": hours.total},
        "config": intent.config.model_dump(mode="json"),
    }


def print_plan(intent: Intent, hours: Hours | None, *, run: str, state: str) -> None:
    """Lines of a name and what there is to say of it, then what one should know."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _lines(intent, hours, run, state):
        grid.add_row(name, Text(text))
    out.print(grid)
    if intent.budget.notes:
        notes = Table.grid(padding=(0, 1))
        for note in intent.budget.notes:
            notes.add_row(Text("!", style="yellow"), Text(note))
        out.print(notes)
    out.print()


def _lines(intent: Intent, hours: Hours | None, run: str, state: str) -> Iterator[tuple[str, str]]:
    config, budget, subset = intent.config, intent.budget, intent.subset
    yield "run", f"{run}, {state}"
    source = f", from {intent.url}" if intent.url else ""
    yield "subset", f"{subset.ref}, sha256 {subset.sha256[:12]}…, snapshot {subset.snapshot.n}{source}"
    left = [f"{n:,} {what}" for n, what in ((budget.taken_down, "taken down"), (budget.ties, "ties")) if n]
    without = f", without {' and '.join(left)}" if left else ""
    prompts = f"{budget.prompts:,} prompt{'s' if budget.prompts != 1 else ''}"
    yield "pairs", f"{budget.pairs:,} of {prompts}, {budget.images:,} images{without}"
    made = intent.description
    size = f"{budget.resolution} px, {_count(budget.parameters)} weights"
    yield "model", f"{made.name} ({made.family}, {made.prediction}), {size}, {_trained(config, budget)}"
    yield "method", _method(config)
    processes = f" × {config.processes} processes" if config.processes > 1 else ""
    parts = f" = {config.batch} × {config.accumulate} passes{processes}" if config.accumulate > 1 or processes else ""
    yield "batch", f"{budget.effective_batch:,} pairs a step{parts}"
    epochs = f"{budget.epochs:,.0f}" if budget.epochs >= 100 else f"{budget.epochs:.3g}"
    yield "steps", f"{budget.steps:,}, {epochs} epochs"
    yield "learning rate", f"{budget.learning_rate:.4g} with {config.optimiser}, {_schedule(config)}"
    yield "memory", _memory(budget, intent.device, config.precision)
    yield "disk", _disk(config, budget)
    yield "time", _time(hours)
    if config.evaluation is not None:
        judges = ", ".join(config.evaluation.judges)
        yield "evaluation", f"{config.evaluation.images_per_prompt} images a prompt, judged by {judges}"


def _trained(config: TrainConfig, budget: Budget) -> str:
    if config.lora is None:
        return "all trained"
    return f"{_count(budget.trained)} trained as LoRA of rank {config.lora.rank}"


def _method(config: TrainConfig) -> str:
    options = config.method.model_dump(mode="json", exclude_none=True)
    name = options.pop("name")
    defaults = {key: field.default for key, field in type(config.method).model_fields.items()}
    shown = [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in options.items()
        if key == "beta" or value != defaults[key]
    ]
    return ", ".join([name, *shown])


def _schedule(config: TrainConfig) -> str:
    shape = {"constant": "constant", "linear": "falling in a line", "cosine": "falling half a cosine"}[config.schedule]
    warmup = f"{config.warmup:,} step{'s' if config.warmup != 1 else ''}"
    return f"{shape} after {warmup} of warm-up" if config.warmup else shape


def _memory(budget: Budget, device: str, precision: str) -> str:
    memory = budget.memory
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimiser": memory.optimiser,
        "average": memory.average,
        "frozen": memory.frozen,
        "activations": memory.activations,
    }
    told = ", ".join(f"{name} {size(number)}" for name, number in parts.items() if number)
    return f"about {size(memory.total)} of {size(memory.available)} free on {device}, in {precision}: {told}"


def _time(hours: Hours | None) -> str:
    if hours is None:
        return "not estimated: the device has no room for a trial now"
    parts = {
        "caches, at most": hours.caches,
        f"steps of {roughly(hours.step)}": hours.training,
        "the evaluation's pictures": hours.evaluation,
    }
    told = "; ".join(f"{roughly(seconds)} for {what}" for what, seconds in parts.items() if seconds >= 1)
    return f"about {roughly(hours.total)}" + (f": {told}" if told else "")


def _disk(config: TrainConfig, budget: Budget) -> str:
    wanted = config.checkpoints
    often = [
        f"{wanted.every:,} steps" if wanted.every else "",
        f"{wanted.minutes:g} min" if wanted.minutes else "",
    ]
    when = " or ".join(each for each in often if each)
    disk = budget.disk
    parts = {
        "latents": disk.latents,
        "prompts": disk.prompts,
        "reference errors": disk.reference,
        "CLIP's vectors": disk.features,
    }
    caches = ", ".join(f"{name} {size(number)}" for name, number in parts.items() if number)
    kept = f"checkpoints at most {size(disk.checkpoints)}, " + (f"every {when}" if when else "where it is stopped")
    return f"{kept}, model {size(disk.model)}" + (f", caches at most {size(disk.caches)}: {caches}" if caches else "")


def _count(number: int) -> str:
    for unit, least in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= least:
            return f"{number / least:.3g} {unit}"
    return f"{number}"
