"""Measure what FIX costs on one core: what the simulated COMEX, NYMEX and CBOT say, decoded into rows.

    python -m benchmarks.codecs_fix

Figures are per second of CPU of this process, so that a busy machine matters little. A message is a market data
message as the simulator sends it: X with the changes of one book (2.9 entries on average) or with one trade.
"""

import json
import time
from collections.abc import Callable
from typing import Final

from connectors.cme.config import CmeConfig
from connectors.cme.session import Session
from connectors.fix.fields import Fields
from connectors.fix.framing import Framer
from connectors.ticks import FeedOutput
from feeds_simulator.cme.dialects import DIALECTS
from feeds_simulator.cme.sessions import Connection
from feeds_simulator.cme.venue import Venue
from feeds_simulator.cme.wire import Reader
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig

_START_NS: Final = 1_795_446_000_000_000_000  # Monday 23 November 2026, 15:00 UTC
_ACTIONS: Final = 20_000
_CHUNK_BYTES: Final = 65_536


def fix() -> dict[str, float]:
    """Measure framing, fields, and the whole way into rows.

    Units: `*_per_s` messages per second of CPU; `bytes_per_message` and `entries_per_message` say how large they are.
    """
    recording = _Recording()
    stream, count = recording.stream, recording.messages
    frames = Framer().feed(stream)
    fields = Fields()
    split = [fields.split(body) for _, body in frames]  # also learns the layouts
    entries = sum(len(layout.groups.get(268, ())) for layout, _ in split)
    return {
        "bytes_per_message": round(len(stream) / count, 1),
        "entries_per_message": round(entries / count, 2),
        "framing_per_s": _rate(lambda: _frame_all(stream), count),
        "fields_per_s": _rate(lambda: [fields.split(body) for _, body in frames], count),
        "session_rows_per_s": _rate(recording.replay, count, timed=True),
    }


def _frame_all(stream: bytes) -> None:
    framer = Framer()
    for at in range(0, len(stream), _CHUNK_BYTES):
        framer.feed(stream[at : at + _CHUNK_BYTES])


def _rate(action: Callable[[], object], messages: int, *, timed: bool = False) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        result = action()
        seconds = result if timed and isinstance(result, float) else time.process_time() - began
        best = min(best, seconds)
    return round(messages / best)


class _Recording:
    # One session's live messages, and what came before them.

    def __init__(self) -> None:
        market = MarketModel(ModelConfig(start_ns=_START_NS, rate=5_000.0, profiles=PROFILES["cme"], always_open=True))
        self._venue = Venue(market.listings, DIALECTS["levels-44"], {"MANDI": "p"})
        self._venue.acceptor.now_ns = _START_NS
        self._link = Connection(Wire(Faults(), _START_NS))
        session = self._session()
        for begin_string, message in Reader().feed(b"".join(session.to_send())):
            self._venue.acceptor.receive(self._link, begin_string, message)
        self._logon = self._said()
        session.receive(self._logon, _START_NS)
        for begin_string, message in Reader().feed(b"".join(session.to_send())):
            self._venue.acceptor.receive(self._link, begin_string, message)
        self._images = self._said()
        before = self._venue.counters["told"]
        until_ns = _START_NS
        actions = 0
        while actions < _ACTIONS:
            until_ns += 100_000_000
            happened = market.pull(until_ns, 10_000)
            actions += len(happened)
            self._venue.publish(happened, _START_NS)
        self.messages = self._venue.counters["told"] - before
        self.stream = self._said()

    def _said(self) -> bytes:
        said, self._link.out = b"".join(self._link.out), []
        return said

    def _session(self) -> Session:
        self._output = FeedOutput()
        session = Session(CmeConfig(host="", port=0, password="p"), self._output)
        session.on_open(_START_NS)
        return session

    def replay(self) -> float:
        """Take the stream into Arrow batches; return the CPU time without log-on and images."""
        session = self._session()
        session.receive(self._logon, _START_NS)
        session.receive(self._images, _START_NS)
        began = time.process_time()
        for at in range(0, len(self.stream), _CHUNK_BYTES):
            session.receive(self.stream[at : at + _CHUNK_BYTES], _START_NS)
        self._output.ticks.take()
        self._output.depth.take()
        seconds = time.process_time() - began
        assert not session.counters, session.counters
        return seconds


if __name__ == "__main__":
    print(json.dumps(fix(), indent=2))
