"""Scorers whose one model reads a picture and a prompt together: nothing of an item can be kept but its picture's
tokens, and those only while the items of that picture pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.scorers.base import Batch, Floats
from workers.scorers.runtime import InParts, Runtime

See = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
Judge = Callable[[Sequence[torch.Tensor], Sequence[str]], torch.Tensor]


class Joint:
    """A model of pictures and prompts, run over a batch in parts, items of one picture after another.

    `see` takes what the view shows of pictures, on the device, and gives each one's tokens; `judge` takes the tokens
    of a picture and a prompt for each item and gives (items,). A distinct picture is seen once.
    """

    def __init__(self, see: See, judge: Judge, runtime: Runtime, *, at_once: int) -> None:
        self._see = see
        self._judge = judge
        self._device = runtime.device
        self._run = InParts(self._values, replace(runtime, part=min(runtime.part, at_once)))
        self._seen: dict[int, torch.Tensor] = {}
        self._pictures: Sequence[NDArray[Any]] = ()
        self._prompts: Sequence[str] = ()

    def __call__(self, batch: Batch, pictures: Sequence[NDArray[Any]]) -> Floats:
        """float32 of shape (len(batch),); `pictures` is what the view shows of the batch's distinct images."""
        self._pictures, self._prompts, self._seen = pictures, batch.prompts, {}
        order = np.argsort(batch.image_of, kind="stable")
        places = np.stack([batch.image_of[order], batch.prompt_of[order]], axis=1)
        scores = np.empty(len(batch), np.float32)
        scores[order] = self._run(list(places)).numpy()
        self._pictures, self._prompts, self._seen = (), (), {}
        return scores

    def _values(self, places: torch.Tensor) -> torch.Tensor:
        images, prompts = places.cpu().T.tolist()
        self._seen = {image: self._seen[image] for image in set(images) & self._seen.keys()}
        new = sorted(set(images) - self._seen.keys())
        shown = [torch.from_numpy(np.array(self._pictures[image])).to(self._device) for image in new]
        if new:
            self._seen.update(zip(new, self._see(shown), strict=True))
        return self._judge([self._seen[image] for image in images], [self._prompts[prompt] for prompt in prompts])
