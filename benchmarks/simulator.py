"""Measure what the simulated market costs, in CPU time of one process: `mandi bench simulator`.

Every venue's model with scenarios on it, at 20,000 messages/s over all of them, pulled every 10 ms; and ICE's
encoding for one client that takes all of it at full depth.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.ice.messages import CHANNELS
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.ice.venue import Connection, Venue
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from feeds_simulator.scenarios import Script
from feeds_simulator.stage import Stage

NS_PER_S: Final = 1_000_000_000
RATE: Final = 20_000.0
_START_NS: Final = 1_795_531_200 * NS_PER_S  # 24 November 2026, 14:40 UTC
_SECONDS: Final = 5
_PULLS_PER_S: Final = 100
_SHARES: Final = {"ice": 0.3, "mcx": 0.25, "cme": 0.35, "bloomberg": 0.1}


def bench_simulator(_directory: Path) -> Mapping[str, object]:
    """Units: CPU microseconds a message; `core_share` seconds of CPU a second of market time."""
    figures: dict[str, object] = {}
    messages, cpu_s = 0, 0.0
    for venue in _SHARES:
        stage = _stage(venue)
        stage.pull(_START_NS + NS_PER_S)  # the day is drawn, the books are there
        began = time.process_time()
        until_ns = (_START_NS + NS_PER_S + NS_PER_S * n // _PULLS_PER_S for n in range(1, _SECONDS * _PULLS_PER_S + 1))
        pulled = [stage.pull(at_ns) for at_ns in until_ns]
        spent_s = time.process_time() - began
        count = sum(len(action) for actions in pulled for action in actions)
        figures[f"{venue}_model_us"] = round(spent_s / count * 1e6, 2)
        messages, cpu_s = messages + count, cpu_s + spent_s
        if venue == "ice":
            figures["ice_encode_us"] = round(_encode_s(stage, pulled) / count * 1e6, 2)
    return {**figures, "messages_per_s": messages // _SECONDS, "model_core_share": round(cpu_s / _SECONDS, 3)}


def _stage(venue: str) -> Stage:
    script = Script(("spike", "halt"), _START_NS, tuple(_SHARES))
    config = ModelConfig(
        start_ns=_START_NS,
        rate=RATE * _SHARES[venue],
        profiles=PROFILES[venue],
        symbol_of=ice_symbol if venue == "ice" else str,
        always_open=True,
        moves=script.moves(),
    )
    return Stage(venue, MarketModel(config), script, Faults())


def _encode_s(stage: Stage, pulled: Sequence[Sequence[Sequence[Event]]]) -> float:
    venue = Venue(stage.listings)
    session = venue.new_session("s", "key", frozenset(stage.listings))
    connection = Connection(Wire(venue.faults, 0))
    venue.attach(connection, session)
    for channel in CHANNELS:
        venue.subscribe(connection, session, channel, list(stage.listings), 10, 0)
    began = time.process_time()
    for actions in pulled:
        venue.publish(actions, _START_NS)
        connection.out.clear()
    return time.process_time() - began
