"""Damaged streams of the private framing: a prefix of the bodies, then an error or nothing; never anything else.

python tests/feeds_simulator/fuzz_framing.py [INPUTS] [SEED]
"""

import random
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from feeds_simulator.bloomberg.framing import FramingError, Unframer, frame

BODIES = [
    {"op": "hello", "version": 1},
    {},
    {"type": 8, "messages": [[1, "MarketDataEvents", {"BID": 95.6125, "ASK": None, "text": "é" * 40}]]},
    {"type": 0},
]
STREAM = b"".join(frame(body) for body in BODIES)


def fuzz(inputs: int, seed: int = 1) -> dict[str, int]:
    """Damage the stream in a few places, cut it anywhere; return how many bodies and errors came of it."""
    draws, bodies, errors = random.Random(seed), 0, 0
    for _ in range(inputs):
        damaged = bytearray(STREAM)
        for _ in range(draws.randint(1, 4)):
            damaged[draws.randrange(len(damaged))] = draws.randrange(256)
        unframer, cut = Unframer(), draws.randrange(len(damaged))
        try:
            for part in (damaged[:cut], damaged[cut:]):
                for body in unframer.feed(bytes(part)):
                    assert isinstance(body, dict)
                    bodies += 1
        except FramingError:
            errors += 1
        assert unframer.pending_bytes <= len(damaged)
    return {"bodies": bodies, "errors": errors}


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{total:,} inputs: {fuzz(total, int(sys.argv[2]) if len(sys.argv) > 2 else 1)}")  # noqa: T201
