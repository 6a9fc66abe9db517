"""What exists in Toyworld: prompts, and the pictures that show them well or badly.

A picture is one coloured shape on a background. It is drawn from a signed distance field, so every degradation
(soft edges, stains, fading, a wrong attribute) is a number we know. Nothing here judges: see `oracle`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (244, 140, 30),
    "yellow": (250, 215, 40),
    "green": (40, 150, 70),
    "blue": (40, 80, 210),
    "purple": (140, 60, 170),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "sand": (224, 200, 160),
    "night": (28, 30, 54),
    "snow": (244, 245, 248),
    "sky": (150, 205, 238),
    "fog": (132, 132, 136),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")

HELD_OUT = 24
_CHUNK = 256


@dataclass(frozen=True)
class Scene:
    """What a prompt asks for."""

    colour: str
    shape: str
    background: str

    @property
    def prompt(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape} on a {self.background} background"


def all_scenes() -> list[Scene]:
    """Every scene of the world, in a fixed order."""
    return [Scene(c, s, b) for c in COLOURS for s in SHAPES for b in BACKGROUNDS]


@lru_cache(maxsize=1)
def _held_out() -> frozenset[Scene]:
    """A fixed choice that no random generator decides: the scenes whose prompts hash lowest."""
    ranked = sorted(all_scenes(), key=lambda scene: hashlib.sha256(scene.prompt.encode()).digest())
    return frozenset(ranked[:HELD_OUT])


def is_held_out(scene: Scene) -> bool:
    """True for the scenes that no preference pair may show: evaluation draws its prompts from them."""
    return scene in _held_out()


def train_scenes() -> list[Scene]:
    return [scene for scene in all_scenes() if not is_held_out(scene)]


def held_out_scenes() -> list[Scene]:
    return [scene for scene in all_scenes() if is_held_out(scene)]


def parse_prompt(prompt: str) -> Scene:
    """The scene that a prompt names. Raises ValueError where it names none or several of a kind."""
    words = prompt.lower().replace(",", " ").split()

    def only(kind: str, vocabulary: tuple[str, ...]) -> str:
        found = [word for word in words if word in vocabulary]
        if len(found) != 1:
            raise ValueError(f"the prompt {prompt!r} names {len(found)} {kind}s, Toyworld needs exactly one")
        return found[0]

    return Scene(only("colour", tuple(COLOURS)), only("shape", SHAPES), only("background", tuple(BACKGROUNDS)))


@dataclass(frozen=True)
class Pictures:
    """Parameters of N pictures, one entry per picture; all arrays have length N.

    `colour`, `shape`, `background` index the tables above; `x`, `y` (centre) and `radius` are in units of the
    picture's side; `angle` in radians; `softness`, `stains` and `fade` are degradations in [0, 1], 0 = none.
    """

    colour: NDArray[np.int64]
    shape: NDArray[np.int64]
    background: NDArray[np.int64]
    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    softness: Floats
    stains: Floats
    fade: Floats
    seed: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.colour)

    def take(self, index: NDArray[np.int64] | slice) -> Pictures:
        return Pictures(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Generator:
    """An image generator of the world: how often it draws something else, and how badly it draws.

    `wrong` is the chance that one attribute is replaced; the other three are means of exponential draws, cut at 1.
    """

    name: str
    wrong: float
    softness: float
    stains: float
    fade: float

    def draw(self, scenes: list[Scene], rng: np.random.Generator) -> Pictures:
        """One picture of each scene."""
        n = len(scenes)
        colour = np.array([list(COLOURS).index(s.colour) for s in scenes], np.int64)
        shape = np.array([SHAPES.index(s.shape) for s in scenes], np.int64)
        background = np.array([list(BACKGROUNDS).index(s.background) for s in scenes], np.int64)
        kind = np.where(rng.random(n) < self.wrong, rng.choice(3, n, p=(0.45, 0.35, 0.20)), -1)
        for code, (values, size) in enumerate(
            ((colour, len(COLOURS)), (shape, len(SHAPES)), (background, len(BACKGROUNDS)))
        ):
            shifted = (values + rng.integers(1, size, n)) % size
            values[kind == code] = shifted[kind == code]

        def degraded(mean: float) -> Floats:
            return np.minimum(rng.exponential(mean, n), 1.0).astype(np.float32)

        def uniform(low: float, high: float) -> Floats:
            return rng.uniform(low, high, n).astype(np.float32)

        return Pictures(
            colour=colour,
            shape=shape,
            background=background,
            x=uniform(0.40, 0.60),
            y=uniform(0.40, 0.60),
            radius=uniform(0.22, 0.32),
            angle=uniform(-0.25, 0.25),
            softness=degraded(self.softness),
            stains=degraded(self.stains),
            fade=degraded(self.fade),
            seed=rng.integers(0, 2**31, n),
        )


GENERATORS = (
    Generator("toyworld/sketch-v1", wrong=0.40, softness=0.45, stains=0.40, fade=0.35),
    Generator("toyworld/brush-v2", wrong=0.25, softness=0.25, stains=0.25, fade=0.20),
    Generator("toyworld/atelier-xl", wrong=0.12, softness=0.12, stains=0.12, fade=0.10),
)


def render(pictures: Pictures, pixels: int = 64) -> NDArray[np.uint8]:
    """Draw the pictures: uint8, shape (N, pixels, pixels, 3), RGB."""
    parts = [
        _render_chunk(pictures.take(slice(start, start + _CHUNK)), pixels) for start in range(0, len(pictures), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, pixels, pixels, 3), np.uint8)


def perfect(scene: Scene) -> Pictures:
    """One flawless, centred picture of the scene."""
    one = Generator("perfect", 0.0, 0.0, 0.0, 0.0).draw([scene], np.random.default_rng(0))
    centred = np.full(1, 0.5, np.float32)
    return replace(one, x=centred, y=centred, radius=np.full(1, 0.27, np.float32), angle=np.zeros(1, np.float32))


def _render_chunk(p: Pictures, pixels: int) -> NDArray[np.uint8]:
    axis = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels
    dx = axis[None, None, :] - p.x[:, None, None]
    dy = axis[None, :, None] - p.y[:, None, None]
    cos, sin = np.cos(p.angle)[:, None, None], np.sin(p.angle)[:, None, None]
    u = (cos * dx + sin * dy) / p.radius[:, None, None]
    v = (-sin * dx + cos * dy) / p.radius[:, None, None]
    distance = np.empty(u.shape, np.float32)
    for code, name in enumerate(SHAPES):
        chosen = p.shape == code
        if chosen.any():
            distance[chosen] = shape_distance(name, u[chosen], v[chosen])
    distance *= p.radius[:, None, None]
    width = 0.35 / pixels + 0.075 * p.softness
    mask = 1.0 / (1.0 + np.exp(np.clip(distance / width[:, None, None], -30, 30)))

    front = np.array(list(COLOURS.values()), np.float32)[p.colour] / 255
    back = np.array(list(BACKGROUNDS.values()), np.float32)[p.background] / 255
    image = back[:, None, None, :] + mask[..., None] * (front - back)[:, None, None, :]
    image += 0.22 * (p.stains[:, None, None] * _stain_fields(p.seed, axis))[..., None]
    image += (0.75 * p.fade)[:, None, None, None] * (0.5 - image)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _stain_fields(seeds: NDArray[np.int64], axis: Floats) -> Floats:
    """Smooth brightness fields, (N, P, P), zero mean, unit variance: four plane waves of 1.5 to 4 periods."""
    fields = np.zeros((len(seeds), len(axis), len(axis)), np.float32)
    for row, seed in enumerate(seeds):
        rng = np.random.default_rng(int(seed))
        turn, phase = rng.uniform(0, 2 * np.pi, (2, 4))
        wave = rng.uniform(1.5, 4.0, 4) * 2 * np.pi
        for k in range(4):
            along = wave[k] * (np.cos(turn[k]) * axis[None, :] + np.sin(turn[k]) * axis[:, None])
            fields[row] += np.sin(along + phase[k]).astype(np.float32) / np.sqrt(2.0)
    return fields


def shape_distance(name: str, u: Floats, v: Floats) -> Floats:
    """Signed distance to the outline of a shape of unit radius, negative inside; u right, v down."""
    if name == "circle":
        return np.sqrt(u * u + v * v) - np.float32(0.9)
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.8)
    if name == "cross":
        a, b = np.abs(u), np.abs(v)
        wide, tall = np.maximum(a - 1.0, b - 0.32), np.maximum(a - 0.32, b - 1.0)
        return np.minimum(wide, tall).astype(np.float32)
    return _polygon_distance(_OUTLINES[name], u, v)


def _regular(points: int, inner: float) -> Floats:
    turns = np.arange(points) * (2 * np.pi / points) - np.pi / 2
    reach = np.where(np.arange(points) % 2 == 0, 1.08, inner)
    return np.stack([reach * np.cos(turns), reach * np.sin(turns)], axis=1).astype(np.float32)


_OUTLINES = {"triangle": _regular(3, 1.08) + np.array([0, 0.16], np.float32), "star": _regular(10, 0.45)}


def _polygon_distance(corners: Floats, u: Floats, v: Floats) -> Floats:
    squared = np.full(u.shape, np.inf, np.float32)
    inside = np.zeros(u.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, u - ax, v - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        squared = np.minimum(squared, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            crosses = ((ay > v) != (by > v)) & (u < ex * (v - ay) / ey + ax)
        inside ^= crosses
    return (np.sqrt(squared) * np.where(inside, -1, 1)).astype(np.float32)
