"""Files of datasets on the Hugging Face hub as sources. A revision is resolved to its commit once, and every uri
names that commit."""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from ranking.errors import SourceError, UsageError
from ranking.ingest.ranged import ranged
from ranking.ingest.sources import SourceFile

_URI = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(/(?P<path>.*))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRIES = 4
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_SMALL = 16 * 2**20  # bytes of a file that may come whole from a server without ranges
_LONGEST_ANSWER = 64 * 2**20
_AGAIN = (408, 429, 500, 502, 503, 504)


def find(uri: str) -> SourceFile | list[SourceFile]:
    """The file of this name at the revision's commit, or the files below the folder."""
    repo, commit, path = split(at_commit(uri))
    base = f"hf://datasets/{repo}@{commit}"
    if path:
        form = {"paths": [path], "expand": "false"}
        entries = _entries(uri, _request("POST", uri, f"/api/datasets/{repo}/paths-info/{commit}", data=form))
        file = next((entry for entry in entries if entry.get("path") == path), None)
        if file is None:
            raise SourceError(f"source {uri} does not exist", code="source-missing", hint="check the path")
        if file.get("type") == "file":
            return _file(uri, base, f"{base}/{path}".rpartition("/")[0], file)
    root = f"{base}/{path}".rstrip("/")
    return [_file(uri, base, root, entry) for entry in _tree(uri, repo, commit, path)]


def at_commit(uri: str) -> str:
    """The same address with the commit that its revision is now."""
    repo, revision, path = split(uri)
    info = _json(uri, _request("GET", uri, f"/api/datasets/{repo}/revision/{quote(revision, safe='')}"))
    commit = info.get("sha") if isinstance(info, dict) else None
    if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise _odd(uri, "it does not say which commit the revision is")
    return f"hf://datasets/{repo}@{commit}/{path}".rstrip("/")


def open_file(uri: str, *, size: int | None = None) -> BinaryIO:
    """A file of a dataset for reading anywhere in it."""
    repo, revision, path = split(uri)
    url = f"/datasets/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
    if size is None:
        found = find(uri)
        if not isinstance(found, SourceFile):
            raise SourceError(f"source {uri} is a folder", code="source-kind", hint="name a file")
        size = found.bytes
    whole = size

    def fetch(start: int, end: int) -> bytes:
        # The answer may be compressed on its way unless we say otherwise, and then it is not the range we asked for.
        wanted = {"range": f"bytes={start}-{end - 1}", "accept-encoding": "identity"}
        try:
            answer = _request("GET", uri, url, headers=wanted, most=max(end - start, min(whole, _SMALL)))
        except SourceError as error:
            raise OSError(str(error)) from error
        if answer.status == 206:
            return answer.body
        if answer.status == 200 and len(answer.body) == whole:  # it does not do ranges
            return answer.body[start:end]
        raise OSError(f"the hub answered {answer.status} where a range of {uri} was asked for")

    return ranged(uri, size, fetch)


def split(uri: str) -> tuple[str, str, str]:
    """Repository, revision ("main" if none is named) and path of an hf:// address; UsageError if it is not one."""
    found = _URI.fullmatch(uri)
    if not found or any(part in (".", "..") for part in (found["path"] or "").split("/")):
        raise UsageError(
            f"source {uri} is no address of a dataset on the hub",
            code="bad-source",
            hint="write hf://datasets/org/name/path or hf://datasets/org/name@revision/path",
        )
    return found["repo"], unquote(found["revision"] or "main"), (found["path"] or "").strip("/")


def _tree(uri: str, repo: str, commit: str, path: str) -> Iterator[dict[str, Any]]:
    below = f"/{quote(path, safe='')}" if path else ""
    following: str | None = f"/api/datasets/{repo}/tree/{commit}{below}?recursive=true&expand=false"
    while following:
        answer = _request("GET", uri, following)
        for entry in _entries(uri, answer):
            parts = str(entry.get("path", "")).removeprefix(path).strip("/").split("/")
            if entry.get("type") == "file" and not any(part.startswith(".") for part in parts):
                yield entry
        following = answer.following


def _file(uri: str, base: str, root: str, entry: dict[str, Any]) -> SourceFile:
    try:
        lfs = entry.get("lfs") or {}
        sha256 = str(lfs["oid"]) if "oid" in lfs else None
        return SourceFile(f"{base}/{entry['path']}", root, int(lfs.get("size", entry["size"])), sha256)
    except (KeyError, TypeError, ValueError) as error:
        raise _odd(uri, f"it lists a file without {error}") from error


def _json(uri: str, answer: "_Answer") -> Any:
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise _odd(uri, "it is not JSON") from error


def _entries(uri: str, answer: "_Answer") -> list[dict[str, Any]]:
    found = _json(uri, answer)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _odd(uri, "it is not a list of files")
    return found


@dataclass(frozen=True)
class _Answer:
    """What the hub said, and the address of the next page if there is one."""

    status: int
    body: bytes
    following: str | None


def _request(
    method: str,
    uri: str,
    where: str,
    *,
    headers: dict[str, str] | None = None,
    data: dict[str, Any] | None = None,
    most: int = _LONGEST_ANSWER,
) -> _Answer:
    # The library's own calls wait without end for a hub that does not answer, and write warnings meanwhile.
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    url = where if "://" in where else endpoint + where
    full = {**build_hf_headers(library_name="pairsieve"), **(headers or {})}
    for attempt in range(_TRIES):
        last = attempt == _TRIES - 1
        try:
            with get_session().stream(method, url, headers=full, data=data, timeout=_TIMEOUT) as response:
                if response.status_code not in _AGAIN or last:
                    if response.is_error:
                        response.read()
                    hf_raise_for_status(response)
                    following = response.links.get("next", {}).get("url")
                    return _Answer(response.status_code, _body(uri, response, most), following)
                pause = _seconds(response.headers.get("retry-after"))
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            if last:
                raise _unreachable(uri, endpoint, error) from error
            pause = 0.0
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise _unreachable(uri, endpoint, error) from error
        time.sleep(max(pause, 0.5 * 2**attempt))
    raise AssertionError("the last attempt returns or raises")


def _body(uri: str, response: httpx2.Response, most: int) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > most:
            raise _odd(uri, f"it is longer than the {most:,} bytes asked for")
    return bytes(body)


def _seconds(text: str | None) -> float:
    return min(float(text), 30.0) if text and text.isdecimal() else 0.0


def _unreachable(uri: str, endpoint: str, error: Exception) -> SourceError:
    if isinstance(error, GatedRepoError):
        return SourceError(f"source {uri} is gated", code="source-denied", hint="ask for access, then set HF_TOKEN")
    if isinstance(error, RevisionNotFoundError | EntryNotFoundError):
        return SourceError(f"source {uri} does not exist", code="source-missing", hint="check revision and path")
    if isinstance(error, RepositoryNotFoundError):
        return SourceError(
            f"source {uri} does not exist, or is private", code="source-missing", hint="check the name, or set HF_TOKEN"
        )
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        if status == 401:  # so the hub also answers for what it does not have
            what = f"source {uri} does not exist, or may not be read"
            return SourceError(what, code="source-missing", hint="check the name, or HF_TOKEN")
        if status == 403:
            return SourceError(f"source {uri} may not be read", code="source-denied", hint="check HF_TOKEN")
        if status == 404:
            return SourceError(f"source {uri} does not exist", code="source-missing", hint="check the path")
        return SourceError(
            f"source {uri} cannot be read: {endpoint} answers {status}",
            code="source-unreachable",
            hint="try again later",
        )
    reason = str(error).partition("\n")[0] or type(error).__name__
    return SourceError(
        f"source {uri} cannot be read: {endpoint} does not answer ({reason})",
        code="source-unreachable",
        hint="check the network, or HF_ENDPOINT",
    )


def _odd(uri: str, what: str) -> SourceError:
    return SourceError(f"source {uri} cannot be read: the hub's answer is odd, {what}", hint="check HF_ENDPOINT")
