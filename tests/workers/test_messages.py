"""What passes for a message of ours, and what must not, because it would end the worker that takes it."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from ranking.settings import Settings
from workers.celery_app import make_app
from workers.messages import flaw_of

Payload = dict[str, Any]


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    return make_app(Settings(store=str(tmp_path)))


def sent(app: Celery) -> Payload:
    """A message as it lies in a queue."""
    app.send_task("workers.score_slice", args=["job", "unit"], expires=60)
    (path,) = Path(app.conf.broker_transport_options["folder"]).glob("queues/score/*.json")
    payload: Payload = json.loads(path.read_bytes())
    return payload


def body(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def spoiled(**changes: Any) -> Callable[[Payload], Any]:
    return lambda payload: payload | changes


def headed(**changes: Any) -> Callable[[Payload], Any]:
    return lambda payload: payload | {"headers": payload["headers"] | changes}


def test_what_we_send_passes(app: Celery) -> None:
    with app.connection_for_read() as connection:
        assert flaw_of(sent(app), connection.default_channel) == ""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda payload: [payload], "TypeError"),
        (lambda _: None, "TypeError"),
        (lambda _: {}, "properties"),
        (lambda payload: payload | {"properties": payload["properties"] | {"delivery_info": {}}}, "delivery info"),
        (lambda payload: payload | {"properties": payload["properties"] | {"delivery_tag": 1}}, "delivery tag"),
        (spoiled(body="%%%"), "JSONDecodeError"),
        (spoiled(body=body([1])), "unpack"),
        (spoiled(body=body({"args": []})), "unpack"),
        (spoiled(body=body([{}, {}, {}])), "the body is not"),
        (spoiled(body=body([[], {}, {"errbacks": [{"task": "x"}]}])), "links"),
        (spoiled(headers=None), "task"),
        (spoiled(headers=[]), "task"),
        (headed(task="os.system"), "unknown task"),
        (headed(id=None), "no id"),
        (headed(eta="tomorrow"), "isoformat"),
        (headed(expires=3), "fromisoformat"),
        (headed(retries="many"), "no id, or retries"),
        (headed(timelimit=[1]), "unpack"),
        (headed(timelimit=["a", "b"]), "time limit"),
        (spoiled(**{"content-type": "application/x-python-serialize"}), "content is"),
        (spoiled(**{"content-type": "application/x-yaml"}), "content is"),
    ],
)
def test_nothing_else_does(app: Celery, spoil: Callable[[Payload], Any], reason: str) -> None:
    with app.connection_for_read() as connection:
        assert reason in flaw_of(spoil(sent(app)), connection.default_channel)
