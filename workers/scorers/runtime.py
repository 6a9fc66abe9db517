"""Where models run: the device, and a forward pass over many inputs in parts that fit into its memory."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ranking.errors import PairsieveError, UsageError

if TYPE_CHECKING:
    import torch

log = logging.getLogger("pairsieve.scorers")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


@dataclass(frozen=True)
class Runtime:
    """What a scorer's factory is told of the machine: a torch device name, how many inputs go through a tower at
    once, and whether towers are compiled."""

    device: str = "cpu"
    part: int = 128
    compile: bool = False


def check_device(device: str) -> str:
    """`device` itself if it reads like a torch device; UsageError if not. Loads no torch."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"the device {device!r} is none of auto, cpu, cuda, cuda:1, mps", hint="use --device auto")
    return device


def pick_device(device: str) -> str:
    """A torch device name; "auto" is cuda, then mps, then cpu. UsageError for a name that is none, PairsieveError for
    a device that is not here."""
    check_device(device)
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PairsieveError(
            f"the device {device!r} cannot be used here",
            code="device-unavailable",
            hint="use --device auto or --device cpu",
        ) from error
    return device


class InParts:
    """A function of a tensor on the device, run over arrays on the host in parts. When the device's memory does not
    hold a part, parts are halved from then on; one input alone that does not fit raises torch.OutOfMemoryError."""

    def __init__(self, function: Callable[..., torch.Tensor], runtime: Runtime, *, keep: bool = False) -> None:
        """`function` maps (n, …) on the device to (n, …). With `keep` the values stay there in their own dtype, for
        another tower to read."""
        self._function = function
        self._device = runtime.device
        self._keep = keep
        self.part = runtime.part

    def __call__(self, inputs: Sequence[NDArray[Any]], *beside: torch.Tensor) -> torch.Tensor:
        """The function's values for stacked inputs, float32 of shape (len(inputs), …) on the CPU unless they are
        kept. What is `beside` reaches the function as it is, with every part."""
        import torch

        done: list[torch.Tensor] = []
        start = 0
        with torch.inference_mode():
            while start < len(inputs):
                stacked = torch.from_numpy(np.stack(inputs[start : start + self.part]))
                if self._device.startswith("cuda"):
                    stacked = stacked.pin_memory()
                try:
                    values = self._function(stacked.to(self._device, non_blocking=True), *beside)
                except torch.OutOfMemoryError:
                    if self.part == 1:
                        raise
                    self.part = max(1, min(self.part, len(stacked)) // 2)
                    log.warning("%s is out of memory: %d inputs at once from now on", self._device, self.part)
                    if self._device.startswith("cuda"):
                        torch.cuda.empty_cache()
                    continue
                done.append(values if self._keep else values.float())
                start += len(stacked)
            return torch.cat(done) if self._keep else torch.cat(done).cpu()
