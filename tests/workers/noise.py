"""Parameters made of noise that another process, with other packages, can make again: by a parameter's name and shape
alone. Initial values would hide swapped keys, because biases begin at 0 and norms at 1."""

import hashlib

import numpy as np


def noise(name: str, shape: tuple[int, ...], *, scale: float = 0.12) -> np.ndarray:
    """float32 N(0, scale²) of this shape, the same wherever it is asked for `name`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return (np.random.Generator(np.random.PCG64(seed)).standard_normal(shape) * scale).astype(np.float32)


def noisy_pixels(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 noise of this shape, the same wherever it is asked for `name`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)
