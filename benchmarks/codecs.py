"""Measure what decoding costs, codec by codec, on one core: what the venue's simulator sends, decoded again and again.

    python -m benchmarks.codecs

In CPU time of this process, so that a busy machine matters little. To add a codec: a function that returns its figures,
and a line in CODECS.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.codecs_bloomberg import bench_bloomberg
from benchmarks.codecs_fix import fix
from benchmarks.codecs_ice import ice
from connectors.mcx.angel import Angel
from connectors.mcx.codec import Kite, decode_runs
from connectors.mcx.config import McxConfig
from connectors.mcx.instruments import Listing
from connectors.mcx.session import Session
from connectors.ticks import FeedOutput
from feeds_simulator.mcx import angel, kite
from feeds_simulator.mcx.board import Board, Contract
from feeds_simulator.mcx.symbols import kite_symbol
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from market.instruments import InstrumentKey, InstrumentMaster
from market.sessions import local_date

_START_NS: Final = 1_795_424_400_000_000_000  # 23 November 2026, 14:30 in India
_STATES: Final = 20_000
_SECONDS: Final = 1.0


def bench_codecs(directory: Path) -> dict[str, Mapping[str, float]]:  # noqa: ARG001
    """Measure every codec, a second each.

    Units: `*_per_s` messages (packets, where a message holds several) per second of CPU.
    """
    return {name: measure() for name, measure in CODECS.items()}


def per_second(decode: Callable[[bytes], object], messages: Sequence[bytes], each: int = 1) -> float:
    """Return how many of what the messages hold (`each` of them) are decoded in a second of CPU."""
    for message in messages[:100]:
        decode(message)
    done, began = 0, time.process_time()
    while time.process_time() - began < _SECONDS:
        for message in messages:
            decode(message)
        done += len(messages)
    return round(done * each / (time.process_time() - began))


# ---- MCX


def _mcx_states() -> tuple[Board, list[tuple[Contract, bytes, bytes]]]:
    config = ModelConfig(
        start_ns=_START_NS, rate=4_000.0, profiles=PROFILES["mcx"], symbol_of=kite_symbol, always_open=True
    )
    market = MarketModel(config)
    board = Board(market.listings, local_date("Asia/Kolkata", _START_NS))
    states: list[tuple[Contract, bytes, bytes]] = []
    until_ns = _START_NS
    while len(states) < _STATES:
        until_ns += 10**9
        for action in market.pull(until_ns, 10**6):
            states += [(one, kite.packet(one, kite.FULL), angel.packet(one, angel.SNAP)) for one in board.apply(action)]
    return board, states[:_STATES]


def mcx_kite() -> dict[str, float]:
    """Kite's packets of 184 bytes: as columns (what the codec is vectorised for), as packets, and into rows."""
    board, states = _mcx_states()
    packets = [packet for _, packet, _ in states]
    alone = [kite.message([packet]) for packet in packets[:2_000]]
    tens = [kite.message(packets[at : at + 10]) for at in range(0, 2_000, 10)]
    hundreds = [kite.message(packets[at : at + 100]) for at in range(0, len(packets), 100)]
    decode = Kite().decode
    return {
        "columns_of_100_per_s": per_second(decode_runs, hundreds, 100),
        "columns_of_10_per_s": per_second(decode_runs, tens, 10),
        "columns_of_1_per_s": per_second(decode_runs, alone),
        "packets_of_100_per_s": per_second(decode, hundreds, 100),
        "packets_of_1_per_s": per_second(decode, alone),
        "session_rows_of_10_per_s": _into_rows(board, packets),
    }


# Once through, for a session sees states that were before as going backwards.
def _into_rows(board: Board, packets: Sequence[bytes]) -> float:
    config = McxConfig(url="", rest_url="", api_key="", access_token=str)
    output = FeedOutput()
    session = Session(config, Kite(), output)
    session.enlist([_listing(contract) for contract in board.contracts], _START_NS)
    session.on_open(_START_NS)
    messages = [kite.message(packets[at : at + 10]) for at in range(0, len(packets), 10)]
    began = time.process_time()
    for number, message in enumerate(messages):
        session.receive(message, _START_NS + number)
    assert session.counters["packets"] == len(packets)
    assert not session.counters["backwards"]
    return round(len(packets) / (time.process_time() - began))


def _listing(contract: Contract) -> Listing:
    known = InstrumentMaster.load().contract(InstrumentKey.parse(contract.key), contract.expiry)
    assert known is not None
    return Listing(contract.token, contract.symbol, contract.key, known.commodity, contract.expiry, known)


def mcx_angel() -> dict[str, float]:
    """Angel's packets of 379 bytes, one a message."""
    _, states = _mcx_states()
    return {"packets_per_s": per_second(Angel().decode, [packet for _, _, packet in states[:2_000]])}


CODECS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "mcx_kite": mcx_kite,
    "mcx_angel": mcx_angel,
    "fix": fix,
    "ice": ice,
    "bloomberg": bench_bloomberg,
}


if __name__ == "__main__":
    print(json.dumps(bench_codecs(Path()), indent=2))
