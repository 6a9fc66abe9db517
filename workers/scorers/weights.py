"""The files that decide a score: where each lies on this machine, and whether it is the one that is meant. Fetches
nothing (`pull` does) and loads no model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranking.errors import PairsieveError
from ranking.names import sha256_file


@dataclass(frozen=True)
class Asset:
    """One file that decides a score.

    `name` is its place below the weights folder, "pickscore-v1/model.safetensors". `source` says where it comes from,
    "hf://org/repo@revision/file" or "https://…"; it is empty for a file that lies at `path` because it came with a
    package. `sha256` is the pin; None leaves it to the first pull, which then keeps it. `bytes` is its size.
    """

    name: str
    source: str = ""
    sha256: str | None = None
    bytes: int | None = None
    path: Path | None = None


class WeightsError(PairsieveError):
    """A file of weights is missing, or is not the one that its pin names."""

    default_code = "weights"


def assets_in(folder: Path) -> tuple[Asset, ...]:
    """Every file of a folder that came with a package."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Asset(path.relative_to(folder).as_posix(), path=path) for path in files)


def located(asset: Asset) -> Path | None:
    """Where the file lies on this machine, or None. Does not hash it."""
    return asset.path if asset.path is not None and asset.path.is_file() else None


def digest(asset: Asset) -> str:
    """Its SHA-256, 64 hex digits. WeightsError if it is missing or not what its pin says."""
    found = sha256_file(_there(asset))
    if asset.sha256 is not None and found != asset.sha256:
        raise WeightsError(
            f"{asset.name} is another file: its sha256 is {found[:12]}…, not {asset.sha256[:12]}…",
            code="weights-changed",
            hint="fetch it again with `pairsieve scorers pull`",
        )
    return found


def verified(asset: Asset) -> Path:
    """Its local path, after hashing it again. WeightsError if it is missing or not what its pin says."""
    digest(asset)
    return _there(asset)


def _there(asset: Asset) -> Path:
    path = located(asset)
    if path is None:
        raise WeightsError(
            f"the weights {asset.name} are not on this machine",
            code="weights-missing",
            hint="fetch them with `pairsieve scorers pull`",
        )
    return path
