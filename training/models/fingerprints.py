"""Hashes of what numbers depend on: weights with their types and shapes, the configs that matter, tokenizers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from ranking.names import canonical_json, sha256_hex

_SAYS_NOTHING = {"architectures", "dtype", "torch_dtype", "transformers_version", "sample_size", "force_upcast"}


def of_weights(module: nn.Module) -> str:
    """The sha256 of a module's weights and buffers: names, types, shapes, bytes."""
    entries = sorted(module.state_dict().items())
    with ThreadPoolExecutor() as threads:  # hashing gives the interpreter's lock away, and SDXL has 14 GB
        hashes = threads.map(_of_tensor, entries)
        return sha256_hex("".join(hashes).encode())


def of_config(config: Mapping[str, Any]) -> str:
    """The sha256 of a config without what says nothing of the numbers: versions, places, the size it was made for."""
    kept = {key: value for key, value in config.items() if not key.startswith("_") and key not in _SAYS_NOTHING}
    return sha256_hex(canonical_json(_plain(kept)))


def of_tokenizer(tokenizer: Any) -> str:
    """The sha256 of a tokenizer: words, merges and normalisation, however its files are laid out, and the longest text.

    To be taken before it is used: calls leave their padding behind in it.
    """
    text = tokenizer.backend_tokenizer.to_str()
    return sha256_hex(f"{text}\n{tokenizer.model_max_length}\n{tokenizer.pad_token_id}".encode())


def together(parts: Iterable[str]) -> str:
    """One hash of several."""
    return sha256_hex("\n".join(parts).encode())


def _of_tensor(entry: tuple[str, Tensor]) -> str:
    name, value = entry
    digest = hashlib.sha256(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
    digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    exact = isinstance(value, (str, int)) or value is None or (isinstance(value, float) and math.isfinite(value))
    return value if exact else str(value)  # solvers' configs may say -inf, which JSON cannot
