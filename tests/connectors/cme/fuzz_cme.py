"""Any bytes into a live session: rows, a reject or a clean end of the connection, never an exception.

python -m tests.connectors.cme.fuzz_cme [INPUTS] [SEED]
"""

import random
import sys
from collections import Counter

from connectors.cme.config import CmeConfig
from connectors.cme.dialects import DIALECTS
from connectors.cme.session import Session
from connectors.ticks import FeedOutput
from tests.connectors.fix.wire import T0, fix, seal, stamp

_ENTRY = "279=0|269=0|278=a|55=GCZ6|270=4150.1|271=3|272=20261121|273=03:23:17.000|346=1|290=1|83=2"
_LEVELS = "268=2|269=0|270=4150.1|271=3|290=1|269=1|270=4150.3|271=5|290=1"
TEMPLATES = (
    f"35=X|34=N|262=B/XCEC:GC:202612|268=1|{_ENTRY}",
    f"35=X|34=N|262=B/XCEC:GC:202612|268=2|{_ENTRY}|{_ENTRY}",
    "35=X|34=N|262=T/XCEC:GC:202612|268=1|279=0|269=2|278=t|55=GCZ6|270=4150.2|271=1|272=20261121|273=03:23:17|5797=1",
    "35=X|34=N|262=T/XCEC:GC:202612|268=1|279=2|269=2|278=t|55=GCZ6|272=20261121|273=03:23:17",
    f"35=W|34=N|262=B/XCEC:GC:202612|55=GCZ6|83=1|{_LEVELS}",
    "35=f|34=N|55=GCZ6|326=2|332=4200|333=4000|60=20261121-03:23:18",
    "35=h|34=N|336=1|340=2",
    "35=Y|34=N|262=B/XCEC:GC:202612|281=3|58=no",
    "35=4|34=N|123=Y|36=99",
    "35=4|34=N|36=99",
    "35=2|34=N|7=1|16=0",
    "35=1|34=N|112=x",
    "35=0|34=N",
    "35=3|34=N|45=1|371=2|372=V|373=1|354=3|355=abc",
    "35=j|34=N|45=1|372=V|380=3",
    "35=A|34=N|98=0|108=10",
    "35=5|34=N|58=bye",
    "35=D|34=N|11=1",
)
_VALUES = (
    "",
    "-1",
    "0",
    "99999999999999999999",
    "1e9",
    "nan",
    "Y",
    "\x00",
    "é",
    "2",
    "GCZ6",
    "20261121-03:23:17",
    "J",
    "5",
)
_TAGS = (
    8,
    9,
    10,
    22,
    34,
    43,
    48,
    52,
    55,
    83,
    95,
    96,
    122,
    123,
    141,
    146,
    268,
    269,
    270,
    279,
    354,
    454,
    455,
    1023,
    5001,
)


class Fuzz:
    """A session that is fed, and logged on again whenever it ends."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        name = self._random.choice(list(DIALECTS))
        dialect = DIALECTS["levels-44" if name == "levels-50" else name]
        config = CmeConfig(host="", port=0, password="p", dialect=dialect, products=(("XCEC", "GC"),), months=1)
        self.output = FeedOutput()
        self.session = Session(config, self.output)
        self.session.on_open(T0)
        self.session.receive(fix("35=A|34=1|98=0|108=10|141=Y"), T0)
        self.session.to_send()

    def one(self) -> None:
        """Feed one input, in one or two pieces."""
        data = self._input()
        cut = self._random.randrange(len(data) + 1)
        self.session.receive(data[:cut], T0)
        self.session.receive(data[cut:], T0)
        self.session.positions()
        self.session.to_send()
        self.session.next_timer_ns()
        if self.session.lost is not None or self.output.rows > 5_000 or self._random.random() < 0.001:
            self.outcomes[(self.session.lost or "renewed").split(",")[0][:40]] += 1
            for builder in (self.output.ticks, self.output.depth):
                self.outcomes["rows"] += sum(batch.num_rows for _, batch in builder.take())
            for ledger in (self.output.rejected, self.output.gaps, self.output.status):
                batch = ledger.take()
                self.outcomes["ledger rows"] += 0 if batch is None else batch.num_rows
            self.session.on_close(None, T0)
            self._begin()

    def _input(self) -> bytes:
        chance, choose = self._random.random, self._random.choice
        expected = self.session._fix.incoming.expected
        seq = expected if chance() < 0.8 else self._random.randrange(expected + 20)
        parts = choose(TEMPLATES).replace("34=N", f"34={seq}").split("|")
        parts[2:2] = ["49=CME", "56=MANDI", f"52={stamp()}"] + ([f"43=Y|122={stamp()}"] if chance() < 0.1 else [])
        for _ in range(self._random.randrange(4)):
            first = 1 if chance() < 0.1 else min(6, len(parts))  # mostly the body: a bad header ends the session
            at = self._random.randrange(first, len(parts) + 1)
            kind = chance()
            if kind < 0.2:
                del parts[at - 1 : at]
            elif kind < 0.4:
                parts.insert(at, f"{choose(_TAGS)}={choose(_VALUES)}")
            elif kind < 0.5:
                parts.insert(at, parts[at - 1])
            elif kind < 0.6:
                parts[1:] = self._random.sample(parts[1:], len(parts) - 1)
            elif at < len(parts):
                parts[at] = f"{parts[at].partition('=')[0]}={choose(_VALUES)}"
        message = bytearray(seal("".join([f"{part}|" for part in parts])))
        if chance() < 0.15:
            for _ in range(self._random.randrange(1, 5)):
                message[self._random.randrange(len(message))] = self._random.randrange(256)
        return bytes(message[: self._random.randrange(len(message))]) if chance() < 0.03 else bytes(message)


def run(inputs: int, seed: int) -> Counter[str]:
    """Feed so many inputs; return how the sessions ended, and the rows that came of them."""
    fuzz = Fuzz(seed)
    for _ in range(inputs):
        fuzz.one()
    return fuzz.outcomes


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]] + [1_000_000, 1][len(sys.argv) - 1 :]
    outcomes = run(*words)
    sys.stdout.write(f"{words[0]} inputs, seed {words[1]}; sessions ended, and rows: {outcomes.most_common(12)}\n")
