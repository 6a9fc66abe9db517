"""kombu's Redis transport, made to survive what is not a message: anyone who can write to Redis can write
nonsense."""

# mypy: disable-error-code="no-untyped-call"

import json
from typing import Any

from celery.utils.log import get_logger
from kombu.transport import redis

from workers.celery_app import QUEUES
from workers.messages import flaw_of

logger = get_logger(__name__)


class Channel(redis.Channel):
    """Drops bytes that are not JSON where kombu would raise out of the worker's event loop."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            logger.warning("Dropped from the queue what is not a message: %s", error)
            return True


class Transport(redis.Transport):
    """The transport behind `redis://`."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        # Here, before it counts as delivered: a message that fails later would hold the one place there is.
        flaw = flaw_of(message, self.channels[0]) if queue in QUEUES and self.channels else ""
        if flaw:
            logger.warning("Dropped from queue %s what is not a message: %s", queue, flaw)
            return
        super()._deliver(message, queue)
