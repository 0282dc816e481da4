"""Measure what ICE's JSON costs on one core: what the simulated ICE says, decoded, and into rows.

    python -m benchmarks.codecs_ice

Figures are per second of CPU of this process, so that a busy machine matters little. A message is one that the
simulator sends on the channels `book`, `trades` and `status`.
"""

import json
import time
from itertools import count
from typing import Final

from connectors.ice.codec import decode
from connectors.ice.config import IceConfig
from connectors.ice.session import Session
from connectors.ticks import FeedOutput
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.ice.requests import Credential, Reception
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.ice.venue import Connection, Venue
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig

_START_NS: Final = 1_795_446_000_000_000_000  # Monday 23 November 2026, 15:00 UTC
_ACTIONS: Final = 20_000
_TIMES: Final = 5


def ice() -> dict[str, float]:
    """Measure decoding, and the whole way into rows; the best of five.

    Units: `*_per_s` messages per second of CPU.
    """
    recording = _Recording()
    frames = recording.frames
    decoding = min(_seconds_of_decoding(frames) for _ in range(_TIMES))
    rows = min(recording.replay() for _ in range(_TIMES))
    return {
        "bytes_per_message": round(sum(map(len, frames)) / len(frames), 1),
        "decode_per_s": round(len(frames) / decoding),
        "session_rows_per_s": round(len(frames) / rows),
    }


def _seconds_of_decoding(frames: list[bytes]) -> float:
    began = time.process_time()
    for frame in frames:
        decode(frame)
    return time.process_time() - began


class _Recording:
    # One session's live messages, and what came before them.

    def __init__(self) -> None:
        config = ModelConfig(
            start_ns=_START_NS, rate=5_000.0, profiles=PROFILES["ice"], always_open=True, symbol_of=ice_symbol
        )
        market = MarketModel(config)
        self._venue = Venue(market.listings)
        numbers = count(1)
        self._reception = Reception(
            self._venue, {"demo": Credential("secret")}, lambda: _START_NS, lambda: str(next(numbers))
        )
        self._link = Connection(Wire(Faults(), _START_NS))
        self._publish(market, market.next_ns, 1)  # there are books to subscribe to
        session = self._session()
        self._before: list[list[bytes]] = []
        for _ in range(2):  # log-on, then subscriptions
            for request in session.to_send():
                self._reception.receive(self._link, request)
            self._before.append(self._said())
            for frame in self._before[-1]:
                session.receive(frame, _START_NS)
        self._publish(market, market.next_ns, _ACTIONS)
        self.frames = self._said()

    def _publish(self, market: MarketModel, from_ns: int, actions: int) -> None:
        until_ns = from_ns
        while actions > 0:
            happened = market.pull(until_ns, 10_000)
            self._venue.publish(happened, _START_NS)
            actions -= len(happened)
            until_ns += 100_000_000

    def _said(self) -> list[bytes]:
        said, self._link.out = [text.encode() for text in self._link.out], []
        return said

    def _session(self) -> Session:
        self._output = FeedOutput()
        session = Session(IceConfig(url="", key="demo", secret="secret"), self._output)
        session.on_open(_START_NS)
        return session

    def replay(self) -> float:
        """Take the messages into Arrow batches; return the CPU time without log-on and images."""
        session = self._session()
        for frames in self._before:
            session.to_send()
            for frame in frames:
                session.receive(frame, _START_NS)
        began = time.process_time()
        for frame in self.frames:
            session.receive(frame, _START_NS)
        self._output.ticks.take()
        self._output.depth.take()
        seconds = time.process_time() - began
        assert not session.counters["unexpected"] + session.counters["malformed"], session.counters
        assert session.positions()["trades"], "nothing was taken"
        return seconds


if __name__ == "__main__":
    print(json.dumps(ice(), indent=2))
