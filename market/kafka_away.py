"""Which errors of kafka-python say that a broker is away for a while: market.kafka_log.insist waits for their end.

Apart from market.kafka_log, which every process imports: the library takes 0.3 s that the embedded log shall not cost.
"""

from typing import Final

import kafka.errors

AWAY: Final[tuple[type[Exception], ...]] = (
    kafka.errors.RetriableError,
    kafka.errors.UnknownBrokerIdError,
    kafka.errors.BrokerNotAvailableError,
)
"""The library (3.0.12) calls the last two final. It asks a partition's leader without a look at whether there is one:
while none is elected, as after a broker that stood still, that is 'UnknownBrokerIdError: -1'."""

METADATA_MS: Final = 10_000
"""How old a client's list of brokers may get; with the library's five minutes a broker that is back stays unknown."""
