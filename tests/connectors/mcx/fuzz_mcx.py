"""Throw damaged frames of both brokers at their codecs and at a session.

    python tests/connectors/mcx/fuzz_mcx.py [INPUTS]

Any bytes must give packets or a reason; nothing else. A short run of it is a test.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from connectors.mcx.angel import Angel
from connectors.mcx.codec import Kite
from connectors.mcx.packets import Frame
from market.schemas import REJECT_REASONS
from tests.connectors.mcx import wire


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
    """Frames of a few packets of all lengths, most of them damaged."""
    parts = [wire.ltp, wire.quote, wire.full, wire.index]
    while True:
        whole = wire.frame(*(rng.choice(parts)() for _ in range(rng.randrange(6))))
        yield whole if rng.random() < 0.1 else _damaged(rng, whole)


def angel_frames(rng: random.Random) -> Iterator[bytes]:
    """Packets of all modes, most of them damaged."""
    while True:
        whole = wire.angel(mode=rng.randrange(1, 4), number=rng.randrange(1_000))
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


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for fuzz in (fuzz_kite, fuzz_angel):
        began = time.process_time()
        report = dict(fuzz(count, 7))
        sys.stdout.write(f"{fuzz.__name__} {report}, {time.process_time() - began:.0f} s of CPU\n")
