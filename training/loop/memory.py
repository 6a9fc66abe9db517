"""Memory that does not suffice: one line that says what of this config would take less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ranking.errors import PairsieveError
from training.config import TrainConfig
from workers.scorers.runtime import is_out_of_memory


@contextmanager
def clear_of_memory(config: TrainConfig) -> Iterator[None]:
    """PairsieveError in place of what torch says where memory does not suffice inside."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split("\n")[0].split())[:160] or type(error).__name__
        raise PairsieveError(
            f"the memory of the device does not suffice ({reason})", code="out-of-memory", hint=lighter(config)
        ) from error


def lighter(config: TrainConfig) -> str:
    """What would take less memory, the cheapest in quality first, in the words of the config."""
    ways = []
    if config.batch > 1:
        half = max(1, config.batch // 2)
        whole = config.batch * config.accumulate
        same = f" and accumulate={whole // half}, which is the same training" if whole % half == 0 else ""
        ways.append(f"batch={half}{same}")
    if not config.gradient_checkpointing:
        ways.append("gradient_checkpointing=true")
    if config.precision == "fp32":
        ways.append("precision=bf16")
    if config.lora is None:
        if config.optimiser == "adamw":
            ways.append("optimiser=adamw-8bit")
        ways.append("lora.rank=8")
    return "--set " + ", or --set ".join(ways) if ways else "a smaller data.resolution, or a larger device"
