"""From the name of a model to the folder its files lie in: the shipped one, a folder, or a repository on the hub at a
commit. No weights are read here, and only the files that a caller asks for are fetched."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ranking.errors import PairsieveError
from training.blocks import TOYWORLD
from training.models.checkpoint_files import advice

_TOYWORLD_PIPELINE = Path(__file__).parents[1] / "toyworld" / "weights" / "pipeline"
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?")
_CONFIGS = ["*.json", "*.txt", "*.model"]
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


@dataclass(frozen=True)
class Source:
    """Where a model's files lie. `repo` and `commit` are those of the hub, None for a folder."""

    name: str
    folder: Path
    repo: str | None = None
    commit: str | None = None

    def fetch(self, patterns: list[str]) -> None:
        """See that files that match are in the folder, from the hub if it comes from there."""
        if self.repo is not None:
            _snapshot(self.name, self.repo, self.commit, patterns)


class ModelError(PairsieveError):
    """A model cannot be trained here: it is missing, incomplete, of another shape, or damaged."""

    default_code = "model-unloadable"


def locate(name: str) -> Source:
    """The source of a model with its config files in place: "toyworld", a folder, or `org/name` or `org/name@revision`
    on the hub, where the revision is resolved to a commit.

    Raises ModelError, in one line, for what is not there or is no folder of a diffusers pipeline.
    """
    if name == TOYWORLD:
        return Source(name, _TOYWORLD_PIPELINE)
    path = Path(name).expanduser()
    if path.is_file():
        raise ModelError(
            f"the model {name!r} is one file, and parts are loaded from a diffusers folder", hint=advice(path)
        )
    if path.is_dir():
        return Source(name, path)
    found = _HUB.fullmatch(name)
    if not found or name.startswith(".") or path.is_absolute() or path.suffix.lower() in _SINGLE_FILES:
        raise ModelError(
            f"the model {name!r} is not there",
            hint='give a folder, a hub name as org/name, or "toyworld"',
            exit_code=2,
        )
    folder = _snapshot(name, found["repo"], found["revision"], _CONFIGS)
    return Source(name, folder, found["repo"], folder.name)


def _snapshot(name: str, repo: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from workers.scorers.files.wire import endpoint

    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=patterns,
            endpoint=endpoint(),
            cache_dir=os.environ.get("HF_HUB_CACHE"),
            library_name="pairsieve",
        )
    except GatedRepoError:
        _refuse(name, "its owners ask for a login and their terms", "accept them on its page, then: hf auth login")
    except RevisionNotFoundError:
        _refuse(name, f"it has no revision {revision}", "check the part after the @")
    except RepositoryNotFoundError:
        _refuse(name, "the hub has no such model, or hides it", "check the name; for a private one: hf auth login")
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:100]
        _refuse(name, f"the hub is out of reach ({reason})", "give a folder, or fetch it where there is a network")
    return Path(folder)


def _refuse(name: str, why: str, hint: str) -> NoReturn:
    raise ModelError(f"the model {name!r} is no folder here and cannot be fetched: {why}", hint=hint) from None
