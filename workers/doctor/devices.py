"""The devices that models can run on here, and how fast they are: measured with one block of a transformer, the work
that every tower consists of. Loads torch."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from workers.doctor.machine import main_memory, processors

_WIDTH, _HEADS, _TOKENS = 1024, 16, 257
GFLOP_PER_IMAGE = 2 * _TOKENS * 12 * _WIDTH**2 / 1e9 + 4 * _TOKENS**2 * _WIDTH / 1e9
"""Arithmetic of one block of ViT-L/14 for one image: 12·width² multiply-adds a token in its matrices (attention 4,
feed-forward 8), and 2·tokens²·width in attention."""

_IMAGES = {"cpu": 4, "cuda": 256, "mps": 32}
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A device: torch's name for it, what it is, its memory in bytes, and the precision that suits its towers."""

    name: str
    title: str
    total: int | None
    free: int | None
    advice: str
    why: str


def devices() -> list[Device]:
    """All devices, those with a GPU first."""
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        capability = (properties.major, properties.minor)
        advice, why = advised_cuda(capability)
        title = f"{properties.name}, compute capability {capability[0]}.{capability[1]}, CUDA {torch.version.cuda}"
        found.append(Device(f"cuda:{index}", title, total, free, advice, why))
    memory = main_memory()
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", memory.total, memory.free, "fp16", "half the memory and time of fp32"))
    advice, why = advised_cpu(_flags())
    title = f"{processors()} processors, {torch.get_num_threads()} threads"
    return [*found, Device("cpu", title, memory.total, memory.free, advice, why)]


def advised_cuda(capability: tuple[int, int]) -> tuple[str, str]:
    """The precision for a GPU of this compute capability, and the reason."""
    if capability >= (8, 0):
        return "bf16", "has matrix units for it, and it cannot overflow"
    if capability >= (7, 0):
        return "fp16", "has matrix units for fp16, not for bf16"
    return "fp32", "has no matrix units"


def advised_cpu(flags: frozenset[str]) -> tuple[str, str]:
    """The precision for a processor with these features, as Linux names them, and the reason."""
    if "amx_bf16" in flags:
        return "bf16", "has AMX for it"
    if "avx512_bf16" in flags or "bf16" in flags:
        return "bf16", "has instructions for it"
    return "fp32", "has no instructions for halves"


def giga_flops(device: str, precision: str, *, seconds: float = 1.0) -> float:
    """GFLOP/s of one ViT-L/14 block on a batch of images, the best of the passes that fit into about so many seconds.

    RuntimeError, as torch raises it, where the device does not take the precision or the memory does not suffice.
    """
    kind = device.partition(":")[0]
    images = _IMAGES[kind]
    block = torch.nn.TransformerEncoderLayer(
        _WIDTH, _HEADS, 4 * _WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    block = block.to(device, _TYPES[precision]).eval()
    tokens = torch.randn(images, _TOKENS, _WIDTH, device=device, dtype=_TYPES[precision])
    best = float("inf")
    end = time.monotonic() + seconds
    with torch.inference_mode():
        _timed(block, tokens, kind)
        while best == float("inf") or time.monotonic() < end:
            best = min(best, _timed(block, tokens, kind))
    return GFLOP_PER_IMAGE * images / best


def _timed(block: torch.nn.Module, tokens: torch.Tensor, kind: str) -> float:
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(kind, lambda: None)
    wait()
    start = time.perf_counter()
    block(tokens)
    wait()
    return time.perf_counter() - start


def _flags() -> frozenset[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device file of Linux
            line = next((line for line in file if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        line = ""
    return frozenset(line.partition(":")[2].split())
