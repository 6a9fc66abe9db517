"""What a scorer is: a spec that names its files, its code and what it sees of a picture, and a batch in which scorers
share work. Specs are data and load no model; `registry` turns them into a committee. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ranking.errors import UsageError
from ranking.names import canonical_json, sha256_hex
from workers.scorers.weights import Asset, digest, located, verified

Floats = NDArray[np.float32]
Made = TypeVar("Made")
Options = tuple[tuple[str, Any], ...]

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""What a tower may run in, by the word that names it after a scorer: `pickscore-v1:bf16`."""


@dataclass(frozen=True)
class View:
    """What a scorer sees of a picture, made by the decoder once for all scorers that name an equal view.

    `make` is "module:function", called as `function(image, **options)` with a decoded RGB picture in a process
    without the model; it returns a numpy array of any shape, and raises ImageError for a picture it cannot show.
    Raise `version` when the function gives other values than before.
    """

    make: str
    options: Options = ()
    version: int = 1

    def __call__(self, image: Image.Image) -> NDArray[Any]:
        """The picture as this view shows it."""
        module, function = self.make.split(":")
        seen: NDArray[Any] = getattr(import_module(module), function)(image, **dict(self.options))
        return seen

    def content(self) -> list[Any]:
        """What identifies the view, as JSON."""
        return [self.make, [list(option) for option in self.options], self.version]


@dataclass(frozen=True)
class Cost:
    """What one score takes: parameters in all towers and heads, and GFLOPs (2 × multiply-adds) of an image and of a
    prompt. Zero where there is no model."""

    parameters: int = 0
    image_gflops: float = 0.0
    text_gflops: float = 0.0


@dataclass(frozen=True)
class EmbeddingSpec:
    """An embedding that is kept whenever its scorer runs. `factory` is "module:function", called like a scorer's and
    returning an `Embed`; `dim` is the number of its components."""

    name: str
    factory: str
    dim: int


@dataclass(frozen=True)
class ScorerSpec:
    """One scorer of the registry.

    `factory` is "module:function", called as `function(spec, runtime)` when the scorer is first needed and returning
    a `ScoreBatch`. The fingerprint covers factory, views, the SHA-256 of every asset, `options`, `precision` and
    `code_version` (raise it whenever the code gives other numbers than before). `precisions` are those its towers
    bear. `licence` is the code's, `weights_licence` that of the files; `range` says in words what values to expect;
    `golden` is what it gives for the eight golden pairs of workers.canary in float32, where its author knows.
    """

    name: str
    summary: str
    factory: str
    views: tuple[View, ...] = ()
    assets: tuple[Asset, ...] = ()
    options: Options = ()
    precision: str = "float32"
    precisions: tuple[str, ...] = tuple(PRECISIONS)
    code_version: int = 1
    licence: str = "Apache-2.0"
    weights_licence: str = ""
    range: str = ""
    cost: Cost = field(default_factory=Cost)
    embedding: EmbeddingSpec | None = None
    golden: tuple[float, ...] = ()

    def at(self, precision: str) -> ScorerSpec:
        """The same scorer with its towers in `precision` ("fp32", "bf16" or "fp16"), which is another scorer by id.
        UsageError for another word, and for a scorer that has no tower to run in it or does not bear it."""
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}", hint="take one of those")
        if not self.assets and precision != "fp32":
            raise UsageError(f"scorer {self.name} has no weights and runs in fp32 only", hint="leave the precision out")
        if precision not in self.precisions:
            hint = f"take {' or '.join(f'{self.name}:{word}' for word in self.precisions)}"
            raise UsageError(f"scorer {self.name} cannot run in {precision}", hint=hint)
        return replace(self, precision=PRECISIONS[precision])

    @property
    def missing(self) -> tuple[Asset, ...]:
        """Files that the spec names and this machine does not have."""
        return tuple(asset for asset in self.assets if located(asset) is None)

    @property
    def scorer_id(self) -> str:
        """`name@fingerprint`, of the files as they are now. Raises PairsieveError for files that are missing or not
        what their pin says."""
        content = {
            "factory": self.factory,
            "views": [view.content() for view in self.views],
            "files": [[asset.name, digest(asset)] for asset in self.assets],
            "options": [[key, value] for key, value in self.options],
            "precision": self.precision,
            "code_version": self.code_version,
        }
        return f"{self.name}@{sha256_hex(canonical_json(content))[:12]}"

    @property
    def embedding_id(self) -> str | None:
        """The id under which its embedding is kept, `embedding-<name>@<the scorer's fingerprint>`."""
        if self.embedding is None:
            return None
        return f"embedding-{self.embedding.name}@{self.scorer_id.partition('@')[2]}"

    def path(self, ending: str) -> Path:
        """The local file of the one asset whose name ends so, hashed again and as its pin says. PairsieveError if it
        is missing or another file."""
        (asset,) = (asset for asset in self.assets if asset.name.endswith(ending))
        return verified(asset)

    def option(self, name: str) -> Any:
        """The value of an option; KeyError if the spec has none of that name."""
        return dict(self.options)[name]


@dataclass
class Batch:
    """Distinct images and prompts, the items that pair them, and what the scorers have already computed of them.

    Item i shows image `image_of[i]` under prompt `prompts[prompt_of[i]]`; both arrays are int64 of shape (items,).
    """

    prompts: Sequence[str]
    image_of: NDArray[np.int64]
    prompt_of: NDArray[np.int64]
    images: int
    views: Mapping[View, Sequence[NDArray[Any]]]
    _shared: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.image_of) != len(self.prompt_of):
            raise ValueError(f"{len(self.image_of)} images but {len(self.prompt_of)} prompts")

    def __len__(self) -> int:
        return len(self.image_of)

    def view(self, view: View) -> Sequence[NDArray[Any]]:
        """What `view` shows of each distinct image, in their order."""
        return self.views[view]

    def item_prompts(self) -> list[str]:
        """The prompt of each item."""
        return [self.prompts[place] for place in self.prompt_of]

    def share(self, key: Any, make: Callable[[], Made]) -> Made:
        """The value that `make` gives, computed once per batch: one tower pass serves every head."""
        if key not in self._shared:
            self._shared[key] = make()
        value: Made = self._shared[key]
        return value

    def part(self, start: int, stop: int) -> Batch:
        """A new batch of the items from `start` to `stop`, with only what they show; nothing computed is kept."""
        images, image_of = np.unique(self.image_of[start:stop], return_inverse=True)
        prompts, prompt_of = np.unique(self.prompt_of[start:stop], return_inverse=True)
        return Batch(
            prompts=[self.prompts[place] for place in prompts],
            image_of=image_of.astype(np.int64),
            prompt_of=prompt_of.astype(np.int64),
            images=len(images),
            views={view: [seen[place] for place in images] for view, seen in self.views.items()},
        )

    @classmethod
    def of(cls, images: Sequence[Image.Image], prompts: Sequence[str], views: Sequence[View]) -> Batch:
        """A batch of pictures that are at hand, image i with prompt i. ValueError unless there are as many."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        pictures = {id(image): image for image in images}
        place = {key: row for row, key in enumerate(pictures)}
        words = list(dict.fromkeys(prompts))
        word = {prompt: row for row, prompt in enumerate(words)}
        return cls(
            prompts=words,
            image_of=np.array([place[id(image)] for image in images], np.int64),
            prompt_of=np.array([word[prompt] for prompt in prompts], np.int64),
            images=len(pictures),
            views={view: [view(picture) for picture in pictures.values()] for view in views},
        )


@dataclass(frozen=True)
class Embeddings:
    """L2-normalised float32 embeddings of a batch's distinct images (images, d) and distinct prompts (prompts, d)."""

    image: Floats
    prompt: Floats


ScoreBatch = Callable[[Batch], Floats]
"""Scores of a batch: float32 of shape (len(batch),); NaN where the scorer has no answer."""

Embed = Callable[[Batch], Embeddings]
"""The embeddings of a batch."""
