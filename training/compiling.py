"""The denoiser's blocks through torch.compile: which of them, what it needs of the machine, and what is said where it
does not come off."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
import torch._inductor.config
from torch._dynamo.exc import TorchDynamoException

from ranking.errors import PairsieveError, UsageError

_WITHOUT = "or take compile: false"


def compile_blocks(*denoisers: Any) -> None:
    """Compile the blocks that a denoiser repeats, each class of them once for all its places, which takes a fraction of
    the time of compiling the whole (regional compilation)."""
    # A UNet's blocks differ in width, and run with and without a graph: each combination is a graph of its own.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    # Fused kernels leave out roundings to half precision, others with a graph than without: policy and reference would
    # differ before the first step, and β times that is no preference. So all rounds where it does uncompiled.
    torch._inductor.config.emulate_precision_casts = True
    for denoiser in denoisers:
        names = set() if denoiser is None else set(denoiser._repeated_blocks or denoiser._no_split_modules)
        for module in () if denoiser is None else denoiser.modules():
            if type(module).__name__ in names:
                module.compile()


def check_compiler(device: str) -> None:
    """UsageError where this machine cannot compile for the device: torch writes C++ for a CPU, and Triton, which it
    writes for CUDA, compiles what starts its kernels with a C compiler. They are looked for as both look for them."""
    if not device.startswith("cuda"):
        usual = "clang++" if sys.platform == "darwin" else "g++"
        _check("C++", "CXX", [os.environ.get("CXX") or usual])
        return
    if find_spec("triton") is None:
        raise UsageError(
            "compile is set, and triton is not installed",
            code="package-missing",
            hint=f"pip install triton, {_WITHOUT}",
        )
    _check("C", "CC", [os.environ["CC"]] if os.environ.get("CC") else ["clang", "gcc", "cc"])


def _check(language: str, variable: str, commands: list[str]) -> None:
    if not any(shutil.which(shlex.split(command)[0]) for command in commands):
        raise UsageError(
            f"compile is set, and there is no {language} compiler ({', '.join(commands)})",
            code="package-missing",
            hint=f"install one, name it in {variable}, {_WITHOUT}",
        )


@contextmanager
def clear_of_compiling() -> Iterator[None]:
    """PairsieveError in place of pages of torch's, where it can compile a block no further inside."""
    try:
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:300]
        raise PairsieveError(
            f"the denoiser's blocks cannot be compiled ({reason})", code="not-compiled", hint="take compile: false"
        ) from error
