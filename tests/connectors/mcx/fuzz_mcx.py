"""Throw damaged frames of both brokers at their codecs and at a session.

    python tests/connectors/mcx/fuzz_mcx.py [INPUTS] [SEED]

Any bytes must give packets or a reason; nothing else. A short run of it is a test.
"""

import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from connectors.mcx.angel import Angel
from connectors.mcx.codec import Kite
from connectors.mcx.config import McxConfig
from connectors.mcx.instruments import Listing
from connectors.mcx.packets import Broker, Frame
from connectors.mcx.session import Session
from connectors.ticks import FeedOutput
from market.instruments import InstrumentMaster
from market.schemas import REJECT_REASONS
from tests.connectors.mcx import wire

_NOW_S = 1_795_424_400


def _damaged(rng: random.Random, whole: bytes) -> bytes:
    data = bytearray(whole)
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data) + 1)])
    if kind == 1:
        return rng.randbytes(rng.randrange(400))
    if kind == 2:  # lengths and counts are near the front
        data[rng.randrange(min(len(data), 4))] = rng.randrange(256)
    elif kind == 3:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 4:
        at = rng.randrange(len(data))
        data[at:at] = rng.randbytes(rng.randrange(1, 200))
    else:
        at = rng.randrange(len(data))
        del data[at : at + rng.randrange(1, 50)]
    return bytes(data)


def kite_frames(rng: random.Random) -> Iterator[bytes]:
    """Frames of a few packets of all lengths, of a market that goes on; most of them damaged."""
    for number in itertools.count():
        at = {"last": 14_900_000 + 100 * rng.randrange(-5, 6)}
        counted = at | {"volume": number}
        told = {"traded": _NOW_S + number // 100, "stamped": _NOW_S + number // 100}
        kinds = (
            lambda at=at: wire.ltp(**at),
            lambda counted=counted: wire.quote(**counted),
            lambda counted=counted, told=told: wire.full(**counted, **told),
            wire.index,
        )
        whole = wire.frame(*(rng.choice(kinds)() for _ in range(rng.randrange(6))))
        yield whole if rng.random() < 0.1 else _damaged(rng, whole)


def angel_frames(rng: random.Random) -> Iterator[bytes]:
    """Packets of all modes, of a market that goes on; most of them damaged."""
    for number in itertools.count():
        whole = wire.angel(
            mode=rng.randrange(1, 4),
            number=number if rng.random() < 0.9 else rng.randrange(1_000),
            stamped_ms=1_000 * _NOW_S + 10 * number,
            last=14_900_000 + 100 * rng.randrange(-5, 6),
            volume=number,
            traded=_NOW_S + number // 100,
        )
        yield whole if rng.random() < 0.1 else _damaged(rng, whole)


def _fuzz(decode: Callable[[bytes], Frame], frames: Iterator[bytes], inputs: int) -> Counter[str]:
    report: Counter[str] = Counter(inputs=inputs)
    for _, frame in zip(range(inputs), frames, strict=False):
        decoded = decode(frame)
        report["packets"] += len(decoded.packets)
        report["broken"] += len(decoded.broken)
        report["texts"] += len(decoded.texts)
        assert all(part.reason in REJECT_REASONS for part in decoded.broken), frame.hex()
    return report


def fuzz_kite(inputs: int, seed: int) -> Counter[str]:
    """Decode so many inputs; return what came of them."""
    return _fuzz(Kite().decode, kite_frames(random.Random(seed)), inputs)


def fuzz_angel(inputs: int, seed: int) -> Counter[str]:
    """Decode so many inputs; return what came of them."""
    return _fuzz(Angel().decode, angel_frames(random.Random(seed)), inputs)


def fuzz_session(inputs: int, seed: int) -> Counter[str]:
    """Let a session of each broker take so many inputs between them; every row must fit its schema."""
    report: Counter[str] = Counter(inputs=inputs)
    brokers: list[tuple[Broker, Callable[[random.Random], Iterator[bytes]], int]] = [
        (Kite(), kite_frames, wire.TOKEN),
        (Angel(), angel_frames, 234_230),
    ]
    for broker, frames, token in brokers:
        output = FeedOutput()
        session = Session(McxConfig(url="", rest_url="", api_key="", access_token=str), broker, output)
        expiry = date(2027, 2, 5)
        known = InstrumentMaster.load().product("XIMC", "GOLD", expiry)
        assert known is not None
        now_ns = _NOW_S * 10**9
        session.enlist([Listing(token, "GOLD27FEBFUT", "XIMC:GOLD:202702", "gold", expiry, known)], now_ns)
        session.on_open(now_ns)
        for number, frame in zip(range(inputs // 2), frames(random.Random(seed)), strict=False):
            now_ns += 10**7
            session.receive(frame, now_ns)
            if number % 50 == 0:
                session.on_timer(now_ns)
                session.quoted(session.quotes_wanted(now_ns), {}, now_ns)
        for builder in (output.ticks, output.depth):
            report["rows"] += sum(rows.batch().num_rows for rows in builder.detach())
        for ledger in (output.rejected, output.gaps, output.status, output.news):
            batch = ledger.take()
            report["ledger"] += 0 if batch is None else batch.num_rows
    return report


if __name__ == "__main__":
    count, seed = [*map(int, sys.argv[1:]), *(1_000_000, 7)[len(sys.argv) - 1 :]]
    for fuzz in (fuzz_kite, fuzz_angel, fuzz_session):
        began = time.process_time()
        report = dict(fuzz(count, seed))
        sys.stdout.write(f"{fuzz.__name__} {report}, {time.process_time() - began:.0f} s of CPU\n")
