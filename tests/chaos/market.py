"""An endless market for the crash tests: two venues in one shard, a second shard, and everything that goes wrong.

Trades, quotes and heartbeats, most in order; trades that are busted or corrected; some late but acceptable, some
beyond the lateness, some stamped in the future; gaps that open and are resolved; statuses that are replaced. The same
seed gives the same rows for ever.
"""

import itertools
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from arrivals import batch
from reference import SECOND, Row

from market import topics
from market.records import LogWriter, TopicPartition
from market.schemas import GAPS, STATUS, TICKS
from tests.acceptance.files import FileOracle

T0 = 1_790_000_000 * SECOND
LEDGER = TopicPartition(topics.STATUS, topics.FROM_INGEST)
Shards = Mapping[str, tuple[tuple[str, str], ...]]
"""Venue and instrument, by shard."""

SHARDS: Shards = {
    "gold": (("XCEC", "XCEC:GC:202612"), ("XCEC", "XCEC:GC:202702"), ("XIMC", "XIMC:GOLD:202612")),
    "cotton": (("IFUS", "IFUS:CT:202612"),),
}
WIDE: Shards = {
    "gold": SHARDS["gold"],
    "natgas": (("XNYM", "XNYM:NG:202612"),),
    "copper": (("XCEC", "XCEC:HG:202612"),),
    "usdinr": (("XNSE", "XNSE:USDINR:202612"),),
}
"""One for each of four lanes, and for both of two: SHARDS are in one lane (pipelines.engine.cluster.lane_of)."""
ROWS_A_RECORD = 24
NS_A_ROW = SECOND // 10


class Market:
    """Appends records to a log, one after the other, and tells the oracle of each row."""

    def __init__(self, seed: int, shards: Shards = SHARDS) -> None:
        self._shards = shards
        self._rows = _rows(random.Random(seed), [pair for pairs in shards.values() for pair in pairs])
        self._ledger = _ledger_batches()
        self.oracles: dict[str, FileOracle] = {shard: FileOracle() for shard in shards}
        self.records = 0

    def append_to(self, writer: LogWriter) -> None:
        """Append the next record of each shard, sometimes a ledger row, and flush."""
        rows = list(itertools.islice(self._rows, ROWS_A_RECORD))
        for shard, instruments in self._shards.items():
            mine = [row for row in rows if (row.venue, row.instrument) in instruments or _beats(row, instruments)]
            if mine:
                writer.append(topics.prices(shard), "ticks", batch(mine).select(TICKS.names), key=shard)
                for row in mine:
                    self.oracles[shard].feed(row)
        if self.records % 20 == 0:
            kind, found = next(self._ledger)
            writer.append(LEDGER, kind, found)
        writer.flush()
        self.records += 1

    def expected_counts(self) -> dict[str, int]:
        """Rows by table that the stores must end up with."""
        found = self.oracles.values()
        return {
            "bars": sum(len(oracle.published) for oracle in found),
            "late": sum(len(oracle.late) for oracle in found),
            "rejected": sum(len(o.future) + len(o.unknown) + len(o.no_effect) for o in found),
        }


def _beats(row: Row, instruments: tuple[tuple[str, str], ...]) -> bool:
    return row.instrument is None and any(row.venue == venue for venue, _ in instruments)


def _rows(chance: random.Random, everything: Sequence[tuple[str, str]]) -> Iterator[Row]:
    now, recent = T0, deque[tuple[str, str, str]](maxlen=40)
    for number in itertools.count():
        now += chance.randrange(2 * NS_A_ROW)
        venue, instrument = chance.choice(everything)
        kind = chance.choices(["trade", "quote", "clock", "bust", "correction"], [60, 30, 10, 4, 4])[0]
        trade_id = f"T{number}" if kind == "trade" else None
        if kind in ("bust", "correction"):
            if not recent:
                continue
            venue, instrument, trade_id = chance.choice(recent)
        elif kind == "trade":
            recent.append((venue, instrument, f"T{number}"))
        age = chance.choices([0, 3, 20, 55, 200, -1_000], [880, 60, 30, 10, 10, 10])[0] * SECOND
        ts = now - (0 if kind == "clock" else age)
        price, size = 1_300_000_000_000 + chance.randrange(-500, 500) * 100_000_000, chance.randrange(1, 9) * SECOND
        named = None if kind == "clock" else instrument
        yield Row(kind, venue, named, ts, now + chance.randrange(SECOND // 100), price, size, number, number, trade_id)


def _ledger_batches() -> Iterator[tuple[str, pa.RecordBatch]]:
    """A gap that opens, a status, the gap resolved, the status replaced, and so on with the next."""
    for number in itertools.count():
        ts = T0 + number * SECOND
        gap = {"gap_id": f"IFUS/s/trades/{number}", "venue": "IFUS", "channel": "trades", "seq_from": number}
        gap |= {"seq_to": number + 3, "ts_detected": ts, "recovered_rows": 0, "reason": "a test"}
        status = {"venue": "IFUS", "instrument": None, "ts_event": ts, "quality": "GAP", "reason": "a test"}
        yield "gaps", pa.RecordBatch.from_pylist([gap], schema=GAPS)
        yield "status", pa.RecordBatch.from_pylist([status], schema=STATUS)
        gap |= {"ts_resolved": ts + 5, "resolution": "replay", "recovered_rows": 4}
        yield "gaps", pa.RecordBatch.from_pylist([gap], schema=GAPS)
        yield "status", pa.RecordBatch.from_pylist([status | {"quality": "LIVE"}], schema=STATUS)
