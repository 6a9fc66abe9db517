"""Asks a Pairsieve server over REST, with patience: one that is away for a minute is waited for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from ranking.errors import NotFoundError, PairsieveError, UsageError
from ranking.images import Found, ImageError, TakenDownError
from ranking.names import sha256_file, sha256_hex
from ranking.schema import CORRUPT, MISSING
from workers.scorers.files.places import is_safe
from workers.scorers.files.wire import AGAIN, PASSING, pause_of

PATIENCE = 600.0
"""Seconds that a server may be away before a run gives it up."""
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_LONGEST_PAUSE = 30.0
_PIECE = 1 << 20
_STATUS = {"image-missing": MISSING, "image-corrupt": CORRUPT}


class ServerError(PairsieveError):
    """A Pairsieve server cannot be asked: out of reach, not allowed, or it sends what it should not."""

    default_code = "server"


class Server:
    """The REST API at `url`. May be used by several threads; `connections` at once. `token` is sent to it and to
    nobody else: redirects are not followed, and it never passes in the open. To be used in a `with` block, at whose end
    its connections do.

    Raises UsageError for an address that is none, or that others could listen in on.
    """

    def __init__(self, url: str, *, token: str | None = None, connections: int = 8, patience: float = PATIENCE) -> None:
        self.url = _checked(url)
        self.connections, self._patience = connections, patience
        self._http = httpx2.Client(
            timeout=_TIMEOUT,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"accept-encoding": "identity", "user-agent": "pairsieve"}
            | ({"authorization": f"Bearer {token}"} if token else {}),
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def json(self, path: str) -> Any:
        """What GET of a path gives, as JSON. NotFoundError, with the server's words, where there is no such thing."""
        response = self._answered(path)
        try:
            found = response.json()
        except ValueError as error:
            raise self._strange(f"{path} is not JSON") from error
        if response.status_code == 404:
            raise NotFoundError(f"{self.url} says: {_said(found)}", hint="check the name")
        return found

    def image(self, uid: str, *, dataset: str) -> Found:
        """An image's bytes, whose hash is the one in their ETag, or why it cannot be had: missing, corrupt or taken
        down. ServerError `wrong-bytes` where they are others."""
        response = self._answered(f"/v1/images/{uid}", {"dataset": dataset}, missing=(404, 410, 422))
        if response.status_code == 200:
            data = response.content
            if response.headers.get("etag") != f'"sha256-{sha256_hex(data)}"':
                raise self._strange(f"the bytes of image {uid} are not those that their ETag names")
            return data
        code = _code(response)
        if code == "image-taken-down":
            return TakenDownError(uid)
        if code not in _STATUS:
            raise self._refusal(f"image {uid}", response)
        return ImageError(f"image {uid}: {_said(_problem(response))}", status=_STATUS[code])

    def file(self, path: str, parameters: Mapping[str, str], *, to: Path, sha256: str) -> None:
        """A file into `to`, its hash checked; ServerError `wrong-bytes` where it is another."""
        end = time.monotonic() + self._patience
        while True:
            try:
                with closing(self._answered(path, parameters, stream=True)) as response, to.open("wb") as file:
                    if response.status_code != 200:
                        response.read()
                        raise self._refusal(path, response)
                    for piece in response.iter_bytes(_PIECE):
                        file.write(piece)
                break
            except PASSING as error:
                if time.monotonic() > end:
                    raise self._away(error) from error
                time.sleep(1.0)
        if sha256_file(to) != sha256:
            to.unlink()
            raise self._strange(f"the file {path} has another sha256 than its record names")

    def _answered(
        self,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        missing: tuple[int, ...] = (404,),
        stream: bool = False,
    ) -> httpx2.Response:
        """The answer to a GET: 200, or one of `missing`. What may pass is asked again until the patience ends."""
        address, end, pause = f"{self.url}{quote(path)}", time.monotonic() + self._patience, 0.25
        while True:
            wanted = 0.0
            try:
                request = self._http.build_request("GET", address, params=parameters or {})
                response = self._http.send(request, stream=stream)
            except PASSING as error:
                if time.monotonic() > end:
                    raise self._away(error) from error
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                raise self._away(error) from error
            else:
                if response.status_code == 200 or response.status_code in missing:
                    return response
                response.read()
                if response.status_code not in AGAIN or _code(response) == "source-gone" or time.monotonic() > end:
                    raise self._refusal(path, response)
                wanted = pause_of(response.headers)
            time.sleep(max(pause, wanted))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _refusal(self, path: str, response: httpx2.Response) -> ServerError:
        status = response.status_code
        if status in (401, 403):
            return ServerError(
                f"{self.url} does not let us read ({status})", code="denied", hint="set PAIRSIEVE_TOKEN to a key of it"
            )
        said = _said(_problem(response))
        return ServerError(f"{self.url} answers {status} to {path}: {said}", code="unreachable", hint="look at its log")

    def _away(self, error: Exception) -> ServerError:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return ServerError(
            f"{self.url} does not answer ({reason})", code="unreachable", hint="start it; what has arrived is kept"
        )

    def _strange(self, what: str) -> ServerError:
        return ServerError(f"{self.url}: {what}", code="wrong-bytes", hint="check the server and what is between")


def _checked(url: str) -> str:
    if not is_safe(url) or urlsplit(url).query or urlsplit(url).fragment or "@" in urlsplit(url).netloc:
        raise UsageError(
            f"{url!r} is no address of a server: https, or http on this machine",
            code="unsafe-address",
            hint="for another machine use https, or a tunnel: ssh -L 8765:127.0.0.1:8765 HOST",
        )
    return url.rstrip("/")


def _problem(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _code(response: httpx2.Response) -> str:
    problem = _problem(response)
    return str(problem.get("code", "")) if isinstance(problem, dict) else ""


def _said(problem: Any) -> str:
    found = problem.get("detail") or problem.get("title") if isinstance(problem, dict) else None
    return str(found or "no reason given").partition("\n")[0][:300]
