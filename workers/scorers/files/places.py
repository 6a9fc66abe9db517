"""Addresses of weights, read strictly: a file of a model on the Hugging Face hub, one behind https, or a package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ranking.errors import UsageError

_HUB = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+?)@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+)/(?P<path>[^?#]+)", re.ASCII
)
_PACKAGE = re.compile(r"pypi:(?P<requirement>[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.+-]*)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository at a revision: a branch, a tag or a commit."""

    repo: str
    revision: str
    path: str

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never names other bytes."""
        return _COMMIT.fullmatch(self.revision) is not None


@dataclass(frozen=True)
class WebFile:
    """A file behind an https address."""

    url: str


@dataclass(frozen=True)
class PackageFile:
    """The wheel of a package at one version, `name==version`, from whichever index pip is set up for."""

    requirement: str


def place_of(source: str) -> HubFile | WebFile | PackageFile:
    """Where `source` lies; UsageError if it is no address of one file."""
    if found := _HUB.fullmatch(source):
        if all(part not in ("", ".", "..") for part in found["path"].split("/")):
            return HubFile(found["repo"], unquote(found["revision"]), found["path"])
    elif found := _PACKAGE.fullmatch(source):
        return PackageFile(found["requirement"])
    elif is_safe(source) and urlsplit(source).path.strip("/"):
        return WebFile(source)
    raise UsageError(
        f"{source!r} is no address of a file of weights",
        code="bad-source",
        hint="write hf://org/name@revision/path, https://host/path or pypi:name==version",
    )


def is_safe(url: str) -> bool:
    """Whether an address keeps what passes over it from others: https, or http to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


def below(folder: Path, name: str) -> Path:
    """The path of `name` below a folder; UsageError for a name that leads out of it or to files of our own."""
    parts = PurePosixPath(name).parts
    if not parts or "\\" in name or "\0" in name or name.startswith("/") or ".." in parts or parts[0].startswith("."):
        raise UsageError(f"{name!r} may not name a file of weights", code="bad-name", hint="name it scorer/file")
    return folder.joinpath(*parts)
