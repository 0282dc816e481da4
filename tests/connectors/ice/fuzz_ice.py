"""Throw damaged frames of ICE at a session that is logged on.

    python tests/connectors/ice/fuzz_ice.py [INPUTS] [SEED]

Any bytes must give rows, a row in `rejected` or a lost connection; nothing else. A short run of it is a test.
"""

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import orjson

from tests.connectors.ice.line import Line
from tests.connectors.ice.venue import FakeVenue

SYMBOLS = ("CT Z26", "B F27")
ROUND = 200  # inputs to a session: what the venue keeps for replay stays small
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63), 0.5, 1e300, "", "0", "-5", "80.005", "1e9", "NaN",
    "x" * 5_000, "CT Z26", "GC Z26", "trades", "book", [], [[]], ["B"], [["B", "N", "80", 1, 1]], {}, {"seq": 1},
)  # fmt: skip


class Venue(FakeVenue):
    """Refuses a symbol that only a damaged frame has named."""

    def _snapshot(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        if request["symbol"] not in self.symbols:
            return [{"op": "error", "code": "bad_request", "msg": "unknown symbol"}]
        return super()._snapshot(request)


def frames(draws: random.Random, venue: FakeVenue) -> list[bytes]:
    """Something that the venue would say now."""
    symbol, what = draws.choice(SYMBOLS), draws.randrange(8)
    if what < 3:
        return venue.trade(symbol, draws.randint(7_990, 8_010), draws.randint(0, 9))
    if what < 5:
        return venue.change(symbol, draws.choice("BS"), draws.randint(7_990, 8_010), draws.randint(0, 3))
    if what == 5:
        return venue.heartbeats()
    op = draws.choice(("trade_correct", "trade_bust", "status", "settlement", "auction"))
    fields = {"op": op, "symbol": symbol, "trade_id": "T1", "px": "80.1", "qty": 1, "aggr": "B", "state": "HALT"}
    if what == 6:
        return venue.publish("status" if op == "status" else "trades", fields)
    kinds = ("subscribed", "replay_done", "resync_required", "error", "snapshot", "auth_ok")
    more = {
        "op": draws.choice(kinds),
        "channel": "book",
        "expected": 1,
        "current": 2,
        "reason": "",
        "code": "bad_request",
    }
    return [
        orjson.dumps(fields | more | {"seq": 1, "id": 1, "from": 1, "to": 2, "bids": [], "asks": [], "last_seq": 1})
    ]


def damaged(draws: random.Random, frame: bytes) -> bytes:
    """The frame whole, with other values in its fields, or with bytes changed, lost or added."""
    how = draws.randrange(6)
    if how < 2:
        return frame
    if how < 4:
        fields = orjson.loads(frame)
        for name in draws.sample(sorted(fields), min(len(fields), draws.randint(1, 2))):
            if draws.random() < 0.3:
                del fields[name]
            else:
                fields[name] = draws.choice(VALUES)
        return orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS) if _fits(fields) else frame
    damage, at = bytearray(frame), draws.randrange(len(frame))
    if how == 4:
        damage[at] = draws.randrange(256)
    else:
        damage[at : at + draws.randrange(20)] = draws.randbytes(draws.randrange(8))
    return bytes(damage)


def _fits(fields: dict[str, Any]) -> bool:
    return all(type(value) is not int or -(2**63) <= value < 2**64 for value in fields.values())


def fuzz(inputs: int, seed: int) -> Counter[str]:
    """Feed frames, most of them damaged; return how many rows of each kind came out. Rows must fit their schemas."""
    draws, outcomes = random.Random(seed), Counter[str]()
    given = 0
    while given < inputs:
        venue = Venue(SYMBOLS)
        line = Line(venue)
        line.open()
        for _ in range(ROUND):
            for frame in frames(draws, venue):
                line.session.receive(damaged(draws, frame), line.tick())
                given += 1
            if line.session.lost is not None:
                outcomes["lost"] += 1
                break
            if draws.random() < 0.1:
                line.exchange()
        line.session.on_timer(line.tick(10**9))
        line.flush()
        outcomes.update({name: len(rows) for name, rows in line.rows.items()})
        outcomes.update(row["reason"] for row in line.rows["rejected"])
        line.session.on_close(1006, line.tick())
    return outcomes


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{total:,} inputs: {dict(fuzz(total, int(sys.argv[2]) if len(sys.argv) > 2 else 1))}")  # noqa: T201
