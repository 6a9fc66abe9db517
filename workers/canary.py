"""Eight golden pairs that every scorer is asked about before it scores anything: a device, a library or a build that
gives other numbers than the first one did is refused. Pictures and prompts are drawn and written here."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from PIL import Image

from ranking.canaries import Canary, first_canary
from ranking.errors import PairsieveError
from ranking.names import utc_now
from ranking.store.blobs import Store
from workers.engine import Committee
from workers.identity import worker_name
from workers.scorers.base import Batch

PROMPTS = (
    "a red circle on a white ground",
    "a photograph of a mountain lake at dawn, mist over the water, 35 mm",
    "",
    "ein grünes Quadrat — 緑の四角, зелёный квадрат, 🟩",
    "stripes",
    "a very long description that no text tower of seventy-seven tokens can hold to its end: " + "a blue gate, " * 40,
    "A portrait of an old sailor, oil on canvas",
    "noise & “nothing” else; <|endoftext|>",
)
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""By how much a score may differ from the first, as a share of the largest of the eight (docs/workers.md says why)."""

_PACKAGES = ("torch", "transformers", "open_clip_torch", "numpy", "pillow")


class CanaryError(PairsieveError):
    """A scorer gives other numbers here than it should; nothing was scored."""

    default_code = "canary"


def pictures() -> list[Image.Image]:
    """The eight golden pictures: RGB, of different sizes and shapes. Integer arithmetic alone, so that they are equal
    everywhere."""
    return [_disc(), _gradient(), _flat(), _square(), _stripes(), _blocks(), _night(), _noise()]


def check_canary(store: Store, committee: Committee, scorer_ids: Sequence[str]) -> None:
    """Ask scorers about the golden pairs. The first process to do so for a scorer writes down what it gave; every
    later one must agree within the tolerance of the scorer's precision, as all must with what the scorer came with.
    CanaryError for one that does not, or whose scores are not finite or all the same."""
    views = committee.views(scorer_ids)
    batch = Batch.of(pictures(), PROMPTS, tuple({view: None for each in views.values() for view in each}))
    try:
        found = committee.score(batch, scorer_ids)
    except Exception as error:
        message = f"the scorers fail on the golden pairs ({type(error).__name__}: {error})"
        raise CanaryError(message, hint="nothing was scored; run `pairsieve doctor`") from error
    for scorer_id in scorer_ids:
        scores = np.asarray(found[scorer_id], np.float64)
        _check_sane(scorer_id, scores, committee.device)
        tolerance = TOLERANCE[committee.precision_of(scorer_id)]
        golden = committee.golden_of(scorer_id)
        if golden:
            _compare(scorer_id, scores, golden, tolerance, committee.device, "what it came with")
        first = first_canary(store, _record(scorer_id, scores, committee.device))
        where = f"what it gave first ({first.device}, {first.worker}, torch {first.versions.get('torch', 'none')})"
        _compare(scorer_id, scores, first.scores, tolerance, committee.device, where)


def _record(scorer_id: str, scores: np.ndarray, device: str) -> Canary:
    versions = {package: found for package in _PACKAGES if (found := _version(package))}
    versions["python"] = platform.python_version()
    return Canary(scorer_id, tuple(map(float, scores)), device, worker_name(), versions, utc_now())


def _check_sane(scorer_id: str, scores: np.ndarray, device: str) -> None:
    if scores.shape != (len(PROMPTS),) or not np.isfinite(scores).all():
        what = f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores that are not finite"
        raise CanaryError(f"{scorer_id} on {device} gives the golden pairs {what}", hint=_HINT)
    if float(np.ptp(scores)) == 0:
        raise CanaryError(f"{scorer_id} on {device} gives every golden pair the score {scores[0]:g}", hint=_HINT)


def _compare(
    scorer_id: str, scores: np.ndarray, known: Sequence[float], tolerance: float, device: str, where: str
) -> None:
    apart = np.abs(scores - np.asarray(known, np.float64))
    allowed = tolerance * float(np.abs(known).max())
    if not (apart <= allowed).all():
        worst = int(apart.argmax())
        raise CanaryError(
            f"{scorer_id} on {device} gives golden pair {worst + 1} {scores[worst]:.6g}, not {known[worst]:.6g}: "
            f"{apart[worst]:.2g} from {where}, {allowed:.2g} allowed",
            hint=_HINT,
        )


_HINT = "nothing was scored; check the device, and the versions of torch and its libraries, on this machine"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:height, :width]
    return rows.astype(np.int64), columns.astype(np.int64)


def _drawn(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8))


def _disc() -> Image.Image:
    y, x = _grid(256, 256)
    inside = (x - 128) ** 2 + (y - 120) ** 2 < 90**2
    return _drawn(np.where(inside, 220, 255), np.where(inside, 20, 255), np.where(inside, 30, 255))


def _gradient() -> Image.Image:
    y, x = _grid(400, 240)
    return _drawn(40 + x // 4, 60 + y // 2, 200 - (x + y) // 8)


def _flat() -> Image.Image:
    y, x = _grid(64, 64)
    return _drawn(*(0 * (x + y) + level for level in (127, 127, 127)))


def _square() -> Image.Image:
    y, x = _grid(224, 300)
    inside = (abs(x - 100) < 60) & (abs(y - 140) < 60)
    return _drawn(np.where(inside, 10, 40), np.where(inside, 190, 40), np.where(inside, 40, 60))


def _stripes() -> Image.Image:
    y, x = _grid(333, 127)
    return _drawn(*(255 * ((x // 7 + y // shift) % 2) for shift in (50, 60, 70)))


def _blocks() -> Image.Image:
    y, x = _grid(512, 384)
    cell = (x // 8) * 37 + (y // 8) * 101
    return _drawn(cell * 5 % 256, cell * 11 % 256, cell * 23 % 256)


def _night() -> Image.Image:
    y, x = _grid(180, 320)
    star = (x * 7919 + y * 104729) % 997 < 3
    return _drawn(np.where(star, 250, 4), np.where(star, 240, 5), np.where(star, 200, 18 + y // 20))


def _noise() -> Image.Image:
    y, x = _grid(230, 231)
    seed = (x * 2654435761 + y * 2246822519) % (1 << 32)
    return _drawn(*((seed ^ (seed >> shift)) * 0x9E3779B1 % (1 << 32) >> 24 for shift in (15, 13, 11)))
