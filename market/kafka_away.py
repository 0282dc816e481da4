"""What all that talk to Kafka agree upon: which errors say that a broker is away for a while, so that
market.kafka_log.insist waits for their end; when a topic is gone; and that to ask for a topic is not to make it.

Apart from market.kafka_log, which every process imports: the library takes 0.3 s that the embedded log shall not cost.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import kafka.errors
from kafka.net.compat import KafkaNetClient

T = TypeVar("T")

AWAY: Final[tuple[type[Exception], ...]] = (
    kafka.errors.RetriableError,
    kafka.errors.UnknownBrokerIdError,
    kafka.errors.BrokerNotAvailableError,
)
"""The library (3.0.12) calls the last two final. It asks a partition's leader without a look at whether there is one:
while none is elected, as after a broker that stood still, that is 'UnknownBrokerIdError: -1'."""

METADATA_MS: Final = 10_000
"""How old a client's list of brokers may get; with the library's five minutes a broker that is back stays unknown."""

GONE_S: Final = 5.0
"""How long a topic must be missing until it counts as deleted: one of several brokers may not know of it yet."""


def never_make_topics(manager: Any) -> None:
    """Have this client's questions make no topic, on a broker that would (`auto.create.topics.enable`, its default).

    A topic that was deleted would be back at once, with the broker's settings instead of ours, and nobody told.
    The library (3.0.12) has an option for it, `allow_auto_create_topics`, and does not hand it on.
    """
    manager.cluster.config["allow_auto_create_topics"] = False


def connected(make: Callable[..., T], **settings: Any) -> T:
    """Make a client of the library, which connects at once.

    Where it cannot, the library (3.0.12) leaves a thread that tries for ever, beside those of the next attempts.
    """
    opened: list[Any] = []

    def client(**configs: Any) -> Any:
        opened.append(KafkaNetClient(**configs))
        return opened[0]

    try:
        return make(kafka_client=client, **settings)
    except BaseException:
        for each in opened:
            each.close()
        raise
