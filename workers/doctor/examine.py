"""Which scorers can run on a device: their files, their memory, and the rate to expect of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from ranking.images.decode import decode_rgb
from workers.scorers.base import PRECISIONS, ScorerSpec
from workers.scorers.standing import READY, Standing, standing
from workers.scorers.views import crop

_ELEMENT = {"float32": 4, "bfloat16": 2, "float16": 2}
_BESIDE = 10**9  # bytes: what runs through a tower, and torch itself
_SIDE = 768


@dataclass(frozen=True)
class Diagnosis:
    """Whether a scorer can run, and in a line why not or how to make it run.

    `memory` is about what it takes on the device, in bytes; `rate` the images a second to expect of it alone, from
    `giga_flops` of the device, or None where it was not measured or the scorer has no tower.
    """

    stand: Standing
    runs: bool
    why: str
    memory: int
    rate: float | None

    @property
    def spec(self) -> ScorerSpec:
        """The scorer."""
        return self.stand.spec


def precision_of(spec: ScorerSpec) -> str:
    """The word for the precision of a scorer's towers: "fp32", "bf16" or "fp16"."""
    return next(word for word, name in PRECISIONS.items() if name == spec.precision)


def examine(spec: ScorerSpec, *, free: int | None, speeds: Mapping[str, float], decode_rate: float) -> Diagnosis:
    """Look at one scorer. `free` is the device's memory, `speeds` its GFLOP/s by precision word, `decode_rate` the
    images a second that this machine decodes, beyond which no scorer gets."""
    stand = standing(spec)
    memory = spec.cost.parameters * _ELEMENT[spec.precision] + _BESIDE if spec.assets else 0
    speed = speeds.get(precision_of(spec))
    rate = None
    if spec.cost.image_gflops and speed:
        rate = min(speed / spec.cost.image_gflops, decode_rate)
    elif not spec.cost.image_gflops and not spec.assets:
        rate = decode_rate
    if stand.state != READY:
        return Diagnosis(stand, False, stand.why or "", memory, rate)
    if free is not None and memory > free:
        why = f"takes about {memory / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free"
        return Diagnosis(stand, False, why, memory, rate)
    return Diagnosis(stand, True, "", memory, rate)


def together(found: Sequence[Diagnosis], *, speeds: Mapping[str, float], decode_rate: float) -> float | None:
    """Images a second to expect of several scorers at once: what runs on the same files of a tower is paid once."""
    towers: dict[tuple[str, str], float] = {}
    for each in found:
        if each.spec.cost.image_gflops:
            tower = (each.spec.assets[0].name if each.spec.assets else each.spec.name, precision_of(each.spec))
            towers[tower] = max(towers.get(tower, 0.0), each.spec.cost.image_gflops)
    if not towers:
        return decode_rate if found else None
    if not all(speeds.get(precision) for _, precision in towers):
        return None
    seconds = sum(cost / speeds[precision] for (_, precision), cost in towers.items())
    return min(1 / seconds, decode_rate)


def decoding_rate(processes: int, *, seconds: float = 0.5) -> float:
    """Images a second that so many processes decode and crop, from one that decodes a JPEG of 768×768 pixels for a
    while; real ones have one process read and write beside."""
    grain = np.random.Generator(np.random.PCG64(0)).integers(0, 255, (_SIDE // 8, _SIDE // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(grain).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    data, view = file.getvalue(), crop(224)
    done, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds or not done:
        view(decode_rgb(data))
        done += 1
    return processes * done / taken
