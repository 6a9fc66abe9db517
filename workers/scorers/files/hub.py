"""What the Hugging Face hub says of a file of a model before it is fetched: the commit of its revision, its size, and
a hash to check it by."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from workers.scorers.files.places import HubFile
from workers.scorers.files.wire import PullError, answer, endpoint, hub_headers

_LONGEST = 16 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFacts:
    """A file at a commit. `sha256` is that of a file in LFS or Xet; `blob` is git's SHA-1 name of any other."""

    commit: str
    bytes: int
    sha256: str | None
    blob: str | None
    url: str


def commit_of(http: httpx2.Client, file: HubFile) -> str:
    """The commit that the file's revision is now."""
    if file.pinned:
        return file.revision
    what = f"hf://{file.repo}@{file.revision}"
    url = f"{endpoint()}/api/models/{file.repo}/revision/{quote(file.revision, safe='')}"
    found = _json(http, url, what)
    commit = found.get("sha") if isinstance(found, dict) else None
    if not (isinstance(commit, str) and _SHA1.fullmatch(commit)):
        raise _odd(what, "it does not say which commit the revision is")
    return commit


def facts_of(http: httpx2.Client, file: HubFile, commit: str) -> HubFacts:
    """What the commit says of the file. PullError if it is not in it."""
    what = f"hf://{file.repo}@{commit}/{file.path}"
    url = f"{endpoint()}/api/models/{file.repo}/paths-info/{commit}"
    found = _json(http, url, what, data={"paths": [file.path], "expand": "false"})
    if not isinstance(found, list):
        raise _odd(what, "it is not a list of files")
    entry = next((e for e in found if isinstance(e, dict) and e.get("path") == file.path), None)
    if entry is None or entry.get("type") != "file":
        raise PullError(f"{what} does not exist", code="source-missing", hint="check its path")
    lfs = entry.get("lfs") or {}
    try:
        size, oid, blob = int(lfs.get("size", entry["size"])), lfs.get("oid"), None if lfs else str(entry["oid"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _odd(what, f"it lists a file without {error}") from error
    if (oid and not _SHA256.fullmatch(str(oid))) or (blob and not _SHA1.fullmatch(blob)) or size < 0:
        raise _odd(what, "it lists a file with an odd hash or size")
    where = f"{endpoint()}/{file.repo}/resolve/{commit}/{quote(file.path)}"
    return HubFacts(commit, size, oid, blob, where)


def _json(http: httpx2.Client, url: str, what: str, data: dict[str, object] | None = None) -> Any:
    with answer(http, url, what=what, headers=hub_headers(), data=data) as response:
        body = bytearray()
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LONGEST:
                    raise _odd(what, "it is too long")
        except httpx2.HTTPError as error:
            raise _odd(what, f"it breaks off ({error})") from error
    try:
        return json.loads(body)
    except ValueError as error:
        raise _odd(what, "it is not JSON") from error


def _odd(what: str, why: str) -> PullError:
    return PullError(f"the hub's answer about {what} is odd: {why}", code="odd-answer", hint="check HF_ENDPOINT")
