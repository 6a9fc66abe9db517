"""The broker in a folder: whole messages, each to one consumer, none lost with a killed process."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection

from ranking.settings import Settings
from workers.celery_app import make_app


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    return make_app(Settings(store=str(tmp_path)))


def connect(app: Celery) -> Connection:
    return app.connection_for_read()


def test_messages_come_in_the_order_they_were_sent_and_are_gone_when_acknowledged(app: Celery, tmp_path: Path) -> None:
    for number in range(5):
        app.send_task("workers.score_slice", args=["job", str(number)])
    seen = []
    with connect(app) as connection:
        channel = connection.default_channel
        assert channel.queue_declare("score", passive=True).message_count == 5
        while (message := channel.basic_get("score")) is not None:
            seen.append(message.payload[0][1])
            message.ack()
        assert channel.queue_declare("score", passive=True).message_count == 0
    assert seen == [str(number) for number in range(5)]
    assert not list((tmp_path / "broker").rglob("*.json"))


def test_the_folder_is_for_its_owner_only(app: Celery, tmp_path: Path) -> None:
    app.send_task("workers.reconcile")
    assert stat.S_IMODE((tmp_path / "broker").stat().st_mode) == 0o700


def test_each_message_goes_to_one_of_many_consumers(app: Celery) -> None:
    for number in range(40):
        app.send_task("workers.score_slice", args=["job", str(number)])
    seen: list[str] = []

    def consume() -> None:
        with connect(app) as connection:
            while (message := connection.default_channel.basic_get("score")) is not None:
                seen.append(message.payload[0][1])
                message.ack()

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, seen)) == list(range(40))


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b'{"body": "W1',
        b"\xff\xfe",
        b"[1, 2]",
        b'"text"',
        b"{}",
        json.dumps({"body": "%%%", "properties": {"delivery_tag": "1", "body_encoding": "base64"}}).encode(),
        json.dumps({"body": "e30=", "headers": 3, "properties": {"delivery_tag": "1"}}).encode(),
        json.dumps({"body": "", "headers": {}, "properties": {"delivery_tag": "1", "delivery_info": {}}}).encode(),
    ],
)
def test_a_torn_or_foreign_file_is_put_aside_and_the_next_message_comes(
    app: Celery, tmp_path: Path, torn: bytes
) -> None:
    with connect(app) as connection:
        connection.default_channel.queue_declare("score")
        (tmp_path / "broker/queues/score/0-torn.json").write_bytes(torn)
        app.send_task("workers.score_slice", args=["job", "whole"])
        message = connection.default_channel.basic_get("score")
        assert message is not None and message.payload[0][1] == "whole"
        message.ack()
    assert [path.name for path in (tmp_path / "broker/rejected").iterdir()] == ["score~0-torn.json"]


def test_a_half_written_message_is_not_seen(app: Celery, tmp_path: Path) -> None:
    with connect(app) as connection:
        connection.default_channel.queue_declare("score")
        (tmp_path / "broker/tmp/1.json").write_text('{"body"')
        assert connection.default_channel.basic_get("score") is None


def test_what_is_not_acknowledged_comes_back_when_the_consumer_leaves_in_order(app: Celery) -> None:
    app.send_task("workers.score_slice", args=["job", "again"])
    with connect(app) as connection:
        assert connection.default_channel.basic_get("score") is not None
    with connect(app) as connection:
        message = connection.default_channel.basic_get("score")
        assert message is not None and message.payload[0][1] == "again"
        message.reject(requeue=True)
        assert connection.default_channel.basic_get("score") is not None


def test_what_a_killed_process_had_taken_is_given_to_another(app: Celery, tmp_path: Path) -> None:
    app.send_task("workers.score_slice", args=["job", "again"])
    code = (
        "import sys, time; from ranking.settings import Settings; from workers.celery_app import make_app\n"
        f"channel = make_app(Settings(store={str(tmp_path)!r})).connection_for_read().default_channel\n"
        "print(channel.basic_get('score') is not None, flush=True); time.sleep(600)"
    )
    taker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert taker.stdout is not None and taker.stdout.readline() == b"True\n"
        with connect(app) as connection:
            assert connection.default_channel.basic_get("score") is None  # it lives
    finally:
        os.kill(taker.pid, signal.SIGKILL)
        taker.wait()
        taker.stdout.close()
    time.sleep(1.1)  # a lock this young could be in the making
    with connect(app) as connection:
        message = connection.default_channel.basic_get("score")
        assert message is not None and message.payload[0][1] == "again"
        message.ack()
    assert not list((tmp_path / "broker/taken").iterdir())
