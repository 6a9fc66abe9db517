"""What a text tower made of prompts it has lately seen, so that a prompt is encoded once and not once per batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

BYTES_KEPT = 256 * 2**20
"""By default, room for 87,000 embeddings of 768 components in float32."""


class PromptCache:
    """A text tower in front of which the prompts lately seen are remembered, up to a number of bytes.

    `encode` takes distinct prompts and gives one tensor each, or one tensor with a row each; their shapes may differ
    from prompt to prompt. What is remembered lies where `encode` left it. Make one cache per loaded tower.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], torch.Tensor | Sequence[torch.Tensor]],
        *,
        bytes_kept: int = BYTES_KEPT,
    ) -> None:
        self._encode = encode
        self._room = bytes_kept
        self._rows: OrderedDict[str, torch.Tensor] = OrderedDict()

    def rows(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        """What the tower gives for each of these prompts, in their order; only new ones go through it."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._rows]
        if new:
            for prompt, row in zip(new, self._encode(new), strict=True):
                # A row of a larger tensor would keep all of it alive.
                kept = row.clone() if row.untyped_storage().nbytes() > row.nbytes else row
                self._rows[prompt] = kept
                self._room -= kept.nbytes
        found = [self._rows[prompt] for prompt in prompts]
        for prompt in prompts:
            self._rows.move_to_end(prompt)
        while self._room < 0 and self._rows:
            _, oldest = self._rows.popitem(last=False)
            self._room += oldest.nbytes
        return found

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        """The same as one tensor, (len(prompts), …), for towers that give equal shapes."""
        return torch.stack(self.rows(prompts))

    def __len__(self) -> int:
        return len(self._rows)
