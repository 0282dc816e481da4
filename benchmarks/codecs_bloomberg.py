"""Measure what reading a message of Bloomberg's SDK costs on one core, with the simulator's facade as the SDK.

    python -m benchmarks.codecs_bloomberg

In CPU time of this process. Most of it is the facade's: the real SDK answers the same calls from C.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, Final

from connectors.bloomberg.codec import Decoder
from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.session import Session
from connectors.ticks import FeedOutput
from feeds_simulator.bloomberg import blpapi, fields
from feeds_simulator.bloomberg.blpapi.event import Message
from feeds_simulator.bloomberg.securities import security_of
from feeds_simulator.bloomberg.streams import Client
from feeds_simulator.bloomberg.venue import Venue
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig

_START_NS: Final = 1_795_424_400_000_000_000  # 23 November 2026, 09:00 UTC
_MESSAGES: Final = 20_000
_IN_AN_EVENT: Final = 10


def bench_bloomberg() -> dict[str, float]:
    """Market data messages, ten an event: decoded, and turned into rows by a session.

    Units: `*_per_s` messages per second of CPU.
    """
    session, events, output = _recorded()
    messages = [message for event in events if event.eventType() == fields.SUBSCRIPTION_DATA for message in event]
    decoder = Decoder(blpapi.Name, blpapi.Exception)
    began = time.process_time()
    for message in messages:
        decoder.decode(fields.SUBSCRIPTION_DATA, message, _START_NS)
    decoded_s, began = time.process_time() - began, time.process_time()
    for number, event in enumerate(events):
        session.receive(event, _START_NS + number)
    rows_s = time.process_time() - began
    assert output.rows >= len(messages)
    return {"messages_per_s": round(len(messages) / decoded_s), "session_rows_per_s": round(len(messages) / rows_s)}


# A session that has subscribed, and what the simulator would tell it.
def _recorded() -> tuple[Session, list[blpapi.Event], FeedOutput]:
    output = FeedOutput()
    session = Session(BloombergConfig(news=False), output, None, Decoder(blpapi.Name, blpapi.Exception))
    session.on_open(_START_NS)
    profiles = PROFILES["bloomberg"]
    config = ModelConfig(start_ns=_START_NS, rate=4_000.0, profiles=profiles, symbol_of=security_of, always_open=True)
    market = MarketModel(config)
    venue, client = Venue(market.listings.values()), Client()
    for command in session.commands():
        request = {"id": command.key, "service": fields.MKTDATA, "topic": command.topic, "fields": command.fields}
        venue.subscribe(client, request)
    until_ns = _START_NS
    while sum(len(messages) for _, messages in client.out) < _MESSAGES:
        until_ns += 10**8
        venue.publish(market.pull(until_ns), until_ns)
    return session, [event for kind, bodies in client.out for event in _events(kind, bodies)], output


def _events(kind: int, bodies: Sequence[Any]) -> list[blpapi.Event]:
    messages = [Message(name, content, blpapi.CorrelationId(key)) for key, name, content in bodies]
    starts = range(0, len(messages), _IN_AN_EVENT)
    return [blpapi.Event(kind, messages[start : start + _IN_AN_EVENT]) for start in starts]


if __name__ == "__main__":
    print(json.dumps(bench_bloomberg(), indent=2))
