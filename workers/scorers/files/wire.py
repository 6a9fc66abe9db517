"""Requests for weights over https: few redirects and only to safe addresses, tokens to their own host alone, patience
with a server that is busy, and one line for what goes wrong."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers

from ranking.errors import PairsieveError
from workers.scorers.files.places import is_safe

TRIES = 5
_REDIRECTS = 5
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_LONGEST_PAUSE = 120.0
_RESET = re.compile(r";\s*t=(\d{1,6})")
AGAIN = (408, 429, 500, 502, 503, 504)
"""What a server answers that may answer otherwise in a while."""
PASSING = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)


class PullError(PairsieveError):
    """Weights cannot be fetched: out of reach, not allowed, not there, or not what they should be."""

    default_code = "pull"


class RangeError(PullError):
    """A server has no such range of a file."""


def client() -> httpx2.Client:
    """What requests go through. PullError where the environment says that this machine is offline."""
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise PullError(
            "nothing is fetched while HF_HUB_OFFLINE is set",
            code="offline",
            hint="unset it, or place the files by hand",
        )
    return httpx2.Client(timeout=_TIMEOUT, follow_redirects=False)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the public one. PullError if a token would pass over it in the open."""
    url = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if not is_safe(url):
        raise PullError(f"HF_ENDPOINT {url} is no https address", code="bad-setting", hint="correct HF_ENDPOINT")
    return url


def hub_headers() -> dict[str, str]:
    """What the hub is told of us, with HF_TOKEN or the token of `hf auth login` where there is one."""
    return dict(build_hf_headers(library_name="pairsieve"))


@contextmanager
def answer(
    http: httpx2.Client,
    url: str,
    *,
    what: str,
    headers: dict[str, str] | None = None,
    data: dict[str, object] | None = None,
) -> Iterator[httpx2.Response]:
    """The successful, still unread answer to a GET (or with `data` a POST) of an address, after redirects.

    A busy or failing server is asked again, `TRIES` times in all. `headers` go to the host of `url` only, but for
    ranges. PullError, which speaks of `what`, in every other case.
    """
    for attempt in range(TRIES):
        pause = 0.0
        try:
            response = _sent(http, url, what, headers or {}, data)
        except PASSING as error:
            if attempt == TRIES - 1:
                raise _unreachable(what, url, error) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise _unreachable(what, url, error) from error
        else:
            if response.status_code not in AGAIN or attempt == TRIES - 1:
                try:
                    if response.is_error:
                        raise _refusal(what, response)
                    yield response
                    return
                finally:
                    response.close()
            response.close()
            pause = pause_of(response.headers)
        time.sleep(max(pause, 0.5 * 2**attempt))
    raise AssertionError("the last attempt returns or raises")


def _sent(
    http: httpx2.Client, url: str, what: str, headers: dict[str, str], data: dict[str, object] | None
) -> httpx2.Response:
    home = _origin(url)
    for _ in range(_REDIRECTS + 1):
        if not may_follow(home, url):
            raise PullError(
                f"{what} is not fetched from {_origin(url)}: it is no https address",
                code="unsafe-address",
                hint="check HF_ENDPOINT and the source",
            )
        told = headers if _origin(url) == home else {key: value for key, value in headers.items() if key in _OPEN}
        request = http.build_request("POST" if data else "GET", url, headers={**_PLAIN, **told}, data=data)
        response = http.send(request, stream=True)
        following = response.headers.get("location")
        if not (response.is_redirect and following):
            return response
        response.close()
        url = urljoin(url, following)
    raise PullError(f"{what} is redirected in circles", code="unreachable", hint="check HF_ENDPOINT and the source")


def may_follow(home: str, url: str) -> bool:
    """Whether a request to the host `home` may go on to `url`: over https, or on this machine if it began there."""
    return is_safe(url) and (url.startswith("https:") or home.startswith("http:"))


_OPEN = ("range", "if-range")
_PLAIN = {"accept-encoding": "identity"}  # a compressed answer has no ranges, and another length


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def pause_of(headers: httpx2.Headers) -> float:
    """The seconds after which a server wants to be asked again: Retry-After, or the hub's `RateLimit: …;t=55`."""
    after = headers.get("retry-after", "")
    found = _RESET.search(headers.get("ratelimit", ""))
    seconds = after if after.isdecimal() else found[1] if found else "0"
    return min(float(seconds), _LONGEST_PAUSE)


def _refusal(what: str, response: httpx2.Response) -> PullError:
    status, host = response.status_code, _origin(str(response.url))
    said = response.headers.get("x-error-code", "")
    if said == "GatedRepo":
        return PullError(
            f"{what} is gated", code="denied", hint="accept its terms on its page at the hub, then set HF_TOKEN"
        )
    if status in (401, 403) or said == "RepoNotFound":
        return PullError(
            f"{what} does not exist at {host}, or may not be read", code="denied", hint="set HF_TOKEN, or check it"
        )
    if status in (404, 410):
        return PullError(f"{what} does not exist at {host}", code="source-missing", hint="check its name and revision")
    if status == 416:
        return RangeError(f"{host} has not the asked-for part of {what}", code="wrong-bytes", hint="try again later")
    if status == 429:
        return PullError(f"{host} has had too many requests for {what}", code="busy", hint="try again later")
    return PullError(f"{host} answers {status} to the request for {what}", code="unreachable", hint="try again later")


def _unreachable(what: str, url: str, error: Exception) -> PullError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return PullError(
        f"{what} cannot be fetched: {_origin(url)} does not answer ({reason})",
        code="unreachable",
        hint="check the network, or HF_ENDPOINT; what has arrived is kept",
    )
