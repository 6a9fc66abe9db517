"""Where models run: the device, and a forward pass over many inputs in parts that fit into its memory."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ranking.errors import PairsieveError, UsageError
from ranking.settings import Settings, load_settings

if TYPE_CHECKING:
    import torch

log = logging.getLogger("pairsieve.scorers")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


@dataclass(frozen=True)
class Runtime:
    """What a scorer's factory is told of the machine: a torch device name, how many inputs go through a tower at
    once, and whether towers are compiled."""

    device: str = "cpu"
    part: int = 32
    compile: bool = False


_PARTS = {"cpu": 32, "cuda": 256, "mps": 64}
"""Inputs at once: on a CPU what stays in its caches, on others enough that a layer is one large product."""


def make_runtime(device: str = "auto", settings: Settings | None = None) -> Runtime:
    """What suits this machine and its settings; `device` as for `pick_device`.

    float32 is meant to be float32 from then on, in the whole process: products are not rounded to TF32 (a mantissa of
    10 bits) and sums of halves are not kept in halves, because the precision is part of a scorer's id.
    """
    # Awake, threads that wait for each other take the processors from the decoders and from whatever else runs here; on
    # a busy machine a batch then takes ten times as long. Has an effect only before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    settings = settings or load_settings()
    name = pick_device(device)
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return Runtime(name, settings.batch or _PARTS[name.partition(":")[0]], settings.compile)


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
    hold a part, parts are halved from then on; one input alone that does not fit raises what the device said."""

    def __init__(self, function: Callable[..., torch.Tensor], runtime: Runtime, *, keep: bool = False) -> None:
        """`function` maps (n, …) on the device to (n, …). With `keep` the values stay there in their own dtype, for
        another tower to read."""
        import torch

        self._function: Callable[..., torch.Tensor] = torch.compile(function) if runtime.compile else function
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
                part = inputs[start : start + self.part]
                try:
                    values = self._function(self._sent(part), *beside)
                    done.append(values if self._keep else values.float())
                except (RuntimeError, MemoryError) as error:
                    if len(part) == 1 or not is_out_of_memory(error):
                        raise
                else:
                    start += len(part)
                    continue
                # Out here, because the error holds the memory of all that it interrupted.
                self.part = len(part) // 2
                log.warning("%s is out of memory: %d inputs at once from now on", self._device, self.part)
                if self._device.startswith("cuda"):
                    torch.cuda.empty_cache()
            return torch.cat(done) if self._keep else torch.cat(done).cpu()

    def _sent(self, part: Sequence[NDArray[Any]]) -> torch.Tensor:
        """The inputs as one tensor on the device. Nobody waits for it to get there: pinned memory is copied while the
        device still works on the part before, and torch keeps it until that is done."""
        import torch

        if not self._device.startswith("cuda"):
            return torch.from_numpy(np.stack(part)).to(self._device)
        first = part[0]
        host = torch.empty((len(part), *first.shape), dtype=_torch_type(first.dtype), pin_memory=True)
        np.stack(part, out=host.numpy())
        return host.to(self._device, non_blocking=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure says that memory does not suffice, in any of the ways in which torch's devices say it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "_ALLOC_FAILED")


def _torch_type(dtype: np.dtype[Any]) -> torch.dtype:
    import torch

    return torch.from_numpy(np.empty(0, dtype)).dtype
