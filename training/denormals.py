"""Numbers too small to matter, while a model is trained on a CPU: flushed to zero, and only for so long."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """A CPU adds denormal numbers up a hundred times slower than zeros. The switch is the thread's, so it goes back:
    the caller's numbers are not ours to round."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
