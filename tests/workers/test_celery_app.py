"""The Celery application: the brokers it accepts, and the settings that lost or repeated work depends on."""

import ssl
from pathlib import Path

import pytest

from ranking.errors import UsageError
from ranking.settings import Settings
from workers.celery_app import OPEN_REDIS, QUEUES, ROUTES, broker_folder, check_broker, make_app


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://localhost/1",
        "redis://[::1]:6379/0",
        "redis://127.9.9.9",
        "redis://:secret@redis.internal:6379/0",
        "rediss://user:secret@10.0.0.5:6380/0",
    ],
)
def test_a_redis_on_this_machine_or_with_a_password_is_accepted(url: str) -> None:
    check_broker(url)


@pytest.mark.parametrize("url", ["redis://10.0.0.5:6379/0", "redis://redis:6379/0", "rediss://user@example.org"])
def test_an_open_redis_that_others_can_reach_is_refused_in_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="has no password") as caught:
        make_app(Settings(broker=url))
    assert "\n" not in str(caught.value) and OPEN_REDIS in str(caught.value)
    monkeypatch.setenv(OPEN_REDIS, "1")
    make_app(Settings(broker=url))


@pytest.mark.parametrize(
    "url", ["amqp://guest:secret@host", "memory://", "secret", "sqla+sqlite:///x", "", "redis+socket:///run/secret"]
)
def test_any_other_broker_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="is not supported") as caught:
        make_app(Settings(broker=url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("broker", [None, "redis://127.0.0.1:1/0"])
def test_no_mode_reads_anything_but_json_or_keeps_results(broker: str | None) -> None:
    conf = make_app(Settings(broker=broker)).conf
    assert (conf.accept_content, conf.result_accept_content) == (["json"], ["json"])
    assert conf.task_ignore_result and not conf.result_backend
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (
        True,
        True,
        1,
    )
    assert (conf.worker_pool, conf.worker_pool_start_method) == ("prefork", "spawn")


def test_every_task_has_a_queue_and_no_other_queue_comes_to_be() -> None:
    app = make_app(Settings())
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == set(ROUTES)
    assert {app.amqp.router.route({}, name)["queue"].name for name in ours} == set(QUEUES)
    assert not app.conf.task_create_missing_queues


def test_a_training_is_acknowledged_early_and_a_slice_late_and_both_are_retried_within_bounds() -> None:
    app = make_app(Settings())
    app.loader.import_default_modules()
    train, score = app.tasks["training.train"], app.tasks["workers.score_slice"]
    assert (train.acks_late, train.time_limit) == (False, None)
    assert (score.acks_late, score.reject_on_worker_lost) == (True, True)
    assert (score.time_limit, score.max_retries, train.max_retries) == (7200, 3, 3)


def test_a_message_may_not_be_redelivered_while_its_task_may_still_run() -> None:
    conf = make_app(Settings(broker="redis://127.0.0.1:1/0")).conf
    limit = conf.task_annotations["workers.score_slice"]["time_limit"]
    assert conf.broker_transport_options["visibility_timeout"] > 2 * limit
    assert conf.broker_transport_options["global_keyprefix"] == "pairsieve:"


def test_a_tls_url_is_checked_against_certificates_unless_it_says_otherwise() -> None:
    bare = make_app(Settings(broker="rediss://:secret@example.org/0")).connection()
    told = make_app(Settings(broker="rediss://:secret@example.org/0?ssl_cert_reqs=CERT_NONE")).connection()
    assert bare.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert told.ssl == {"ssl_cert_reqs": ssl.CERT_NONE}


def test_without_redis_messages_lie_beside_the_store_or_in_this_machines_folder_for_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path))
    assert broker_folder(Settings(store="/data")) == Path("/data/broker")
    assert broker_folder(Settings(store="file:///data")) == Path("/data/broker")
    assert broker_folder(Settings(store="./data")) == Path.cwd() / "data" / "broker"
    one, other = (broker_folder(Settings(store=f"s3://bucket/{name}")) for name in ("one", "other"))
    assert one.parent.parent == other.parent.parent == tmp_path
    assert one != other
    assert make_app(Settings(store="s3://bucket/one")).conf.broker_transport_options["folder"] == str(one)
