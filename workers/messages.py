"""Tells a message of ours from anything else that may lie in a queue.

kombu and Celery let a good part of what is not one end the worker, and some of it comes back and ends the next. So a
message is looked at before they see it, and only what we would send ourselves is let through.
"""

# mypy: disable-error-code="no-untyped-call"

import json
from datetime import datetime
from typing import Any

from kombu.transport import virtual

from workers.celery_app import ROUTES

_LINKS = ("callbacks", "errbacks", "chain", "chord")


def flaw_of(payload: Any, channel: virtual.Channel) -> str:
    """What is wrong with a decoded payload of one of our queues, in a few words; "" if it is a message of ours."""
    try:
        message = channel.Message(payload, channel=channel)
        _check_envelope(message)
        _check_headers(message.headers)
        _check_body(message.body)
    except Exception as error:  # whatever a payload that may be anything gives
        return f"{type(error).__name__}: {error}"
    return ""


def _check_envelope(message: virtual.Message) -> None:
    if not isinstance(message.delivery_tag, str):
        raise TypeError("no delivery tag")
    if not {"exchange", "routing_key"} <= message.delivery_info.keys():
        raise TypeError("no delivery info")
    if message.content_type != "application/json" or message.content_encoding != "utf-8":
        raise TypeError(f"content is {message.content_type}")


def _check_headers(headers: dict[str, Any]) -> None:
    if headers["task"] not in ROUTES:
        raise ValueError(f"unknown task {headers['task']!r}")
    if not isinstance(headers["id"], str) or not isinstance(headers.get("retries", 0), int):
        raise TypeError("no id, or retries is not a number")
    for name in ("eta", "expires"):
        if headers.get(name) is not None:
            datetime.fromisoformat(headers[name])
    soft, hard = headers.get("timelimit") or (None, None)
    if not all(limit is None or isinstance(limit, int | float) for limit in (soft, hard)):
        raise TypeError("a time limit is not a number")


def _check_body(body: str | bytes) -> None:
    args, kwargs, embedded = json.loads(body)
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embedded, dict):
        raise TypeError("the body is not arguments, keywords and options")
    if any(embedded.get(link) for link in _LINKS):
        raise ValueError("links to other tasks, which we do not use")
