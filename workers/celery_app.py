"""The Celery application, one for every mode: Redis between machines, or a folder on one machine.

The broker carries hints only. What is done, open or dead is read from the store, so no result is ever kept
here.
"""

# mypy: disable-error-code="no-untyped-call"

import ipaddress
import logging
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from celery import Celery
from celery.signals import after_setup_logger
from kombu.entity import Exchange, Queue

from ranking.errors import UsageError
from ranking.settings import Settings, load_settings
from ranking.store.bucket import workspace_of

OPEN_REDIS = "PAIRSIEVE_ALLOW_OPEN_REDIS"
"""Set to 1 to use a Redis without a password that other machines can reach. Whoever reaches it can run our
tasks."""

CONTROL, SCORE, TRAIN = "control", "score", "train"
QUEUES = (CONTROL, SCORE, TRAIN)
"""In the order a worker looks at them: control messages are short, a training is long."""

SCORE_SLICE, RECONCILE, ADVANCE = "workers.score_slice", "workers.reconcile", "workers.advance_schedules"
TRAIN_RUN = "training.train"
ROUTES = {SCORE_SLICE: SCORE, RECONCILE: CONTROL, ADVANCE: CONTROL, TRAIN_RUN: TRAIN}

KEY_PREFIX = "pairsieve:"
_SOFT_LIMIT = 5400  # seconds; a slice is cut to take minutes, so this is a hung one
_HARD_LIMIT = 7200
_REDIS_SCHEMES = ("redis", "rediss")


def make_app(settings: Settings) -> Celery:
    """A Celery application for these settings; UsageError if the broker is not a Redis that is safe to
    use."""
    app = Celery("pairsieve", set_as_current=False)
    app.conf.update(_common(), **_broker(settings))
    return app


def broker_folder(settings: Settings) -> Path:
    """Where messages lie when there is no Redis: beside the store, or for a bucket in this machine's folder for it.
    Created, private to the user, when something connects."""
    return workspace_of(settings.store) / "broker"


def check_broker(url: str) -> None:
    """UsageError, which never shows a password, unless `url` is a Redis that asks for one or is on this
    machine."""
    parts = urlsplit(url)
    if parts.scheme not in _REDIS_SCHEMES:
        raise UsageError(
            f"broker {parts.scheme or 'without a scheme'} is not supported",
            code="bad-broker",
            hint="set PAIRSIEVE_BROKER to redis://:password@host:6379/0, or unset it to work without Redis",
        )
    if parts.password or _is_loopback(parts) or os.environ.get(OPEN_REDIS) == "1":
        return
    raise UsageError(
        f"the URL of the Redis at {parts.hostname} has no password, so anyone there could run tasks here",
        code="open-broker",
        hint=f"set requirepass and use redis://:password@host/0, or set {OPEN_REDIS}=1 on a private network",
    )


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or "localhost"
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything tomorrow


def _is_bare_tls(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "rediss" and "ssl_" not in parts.query


def _common() -> dict[str, Any]:
    # The default exchange: a message reaches the queue it names even after FLUSHALL took every binding away.
    direct = Exchange("", type="direct")
    return {
        "include": ["workers.tasks", "workers.stopping", "training.tasks"],
        "task_queues": [Queue(name, exchange=direct, routing_key=name, durable=True) for name in QUEUES],
        "task_routes": {task: {"queue": queue} for task, queue in ROUTES.items()},
        "task_default_queue": CONTROL,
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": True,  # the store counts attempts; open work is published again
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,  # bounded by each task's max_retries
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_max": 1},
        "task_annotations": {
            SCORE_SLICE: {"soft_time_limit": _SOFT_LIMIT, "time_limit": _HARD_LIMIT},
            # A training outlives any visibility time-out; acknowledged early, it is not delivered twice, and
            # the reconciler starts it again when its heartbeat stops.
            TRAIN_RUN: {"acks_late": False},
            "*": {"max_retries": 3, "default_retry_delay": 10},
        },
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        "worker_pool": "prefork",
        "worker_pool_start_method": "spawn",  # CUDA does not survive a fork
        "worker_proc_alive_timeout": 180,  # a spawned child imports torch before it answers
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_log_format": "%(asctime)s %(levelname)s %(message)s",
        "worker_task_log_format": "%(asctime)s %(levelname)s %(task_name)s %(message)s",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "beat_scheduler": "workers.beat:StoreScheduler",
        "timezone": "UTC",
        "enable_utc": True,
    }


def _broker(settings: Settings) -> dict[str, Any]:
    if settings.broker is None:
        return {
            "broker_url": "folder://localhost",  # a name for the log; the folder is an option
            "broker_transport": "workers.folder_broker:Transport",
            "broker_transport_options": {"folder": str(broker_folder(settings)), "polling_interval": 0.2},
            "worker_enable_remote_control": False,  # its replies would pile up as files
        }
    check_broker(settings.broker)
    return {
        "broker_url": settings.broker,
        "broker_transport": "workers.redis_broker:Transport",
        "broker_transport_options": {
            "visibility_timeout": 4 * _HARD_LIMIT,  # the reconciler is quicker; this only must not be too short
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": KEY_PREFIX,
            "queue_order_strategy": "priority",
        },
        "beat_enable_remote_control": True,  # so that a health check can ask whether the clock still ticks
        # Checked against the system's certificates, unless the URL's ssl_ options say otherwise.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if _is_bare_tls(settings.broker) else None,
        "worker_disable_prefetch": True,  # or a slice would wait behind a training acknowledged early
    }


def _quieten(loglevel: int | None = None, **_: Any) -> None:
    """Leave out "received" and "succeeded" for each message: the tasks say in one line what they did."""
    if loglevel is None or loglevel > logging.DEBUG:
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)


after_setup_logger.connect(_quieten)


app = make_app(load_settings())
app.set_default()
