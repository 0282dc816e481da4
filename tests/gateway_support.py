"""What the gateway's tests share: rows and batches, a queue's reader that checks the sequence, an in-memory log."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

from gateway.client import ClientQueue
from gateway.rows import Row, rows_of
from market.records import OffsetOutOfRange, Record, TopicPartition
from market.schemas import (
    ANOMALIES,
    ARBITRAGE,
    BARS,
    BOOKS,
    FORECASTS,
    GAPS,
    INTERVALS_NS,
    NEWS,
    PRICE_SCALE,
    QUOTE,
    STATUS,
    TICKS,
    TRADE,
    TRADE_EVENTS,
)

GC = "XCEC:GC:202612"
GOLD = "XIMC:GOLD:202612"
TOPIC = "market.prices.gold"
T0_NS = 1_795_231_380_000_000_000
Json = dict[str, Any]


def trade(tick: int, instrument: str = GC, **changes: object) -> Json:
    return {
        "kind": TRADE,
        "venue": instrument[:4],
        "instrument": instrument,
        "ts_event": T0_NS + tick,
        "ts_recv": T0_NS + tick + 1_000,
        "seq": tick,
        "price": 4_150 * PRICE_SCALE + tick,
        "size": PRICE_SCALE,
        "side": 1,
        "trade_id": f"t{tick}",
        "flags": 0,
    } | changes


def quote(seq: int, instrument: str = GC) -> Json:
    return {
        "kind": QUOTE,
        "venue": instrument[:4],
        "instrument": instrument,
        "ts_event": T0_NS + seq,
        "ts_recv": T0_NS + seq + 1_000,
        "seq": seq,
        "bid_price": 4_150 * PRICE_SCALE + seq,
        "bid_size": PRICE_SCALE,
        "ask_price": None,
        "ask_size": None,
        "flags": 0,
    }


def bar(
    minute: int, *, revision: int = 0, final: bool = False, trades: int = 1, instrument: str = GC, interval: str = "1m"
) -> Json:
    ts_open = T0_NS + minute * INTERVALS_NS[interval]
    price = 4_150 * PRICE_SCALE + trades
    return {
        "venue": instrument[:4],
        "instrument": instrument,
        "interval": interval,
        "ts_open": ts_open,
        "ts_close": ts_open + INTERVALS_NS[interval],
        "revision": revision,
        "final": final,
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "volume": Decimal(trades),
        "vwap": price,
        "trades": trades,
        "quality": "LIVE",
        "as_known_at": ts_open + trades,
    }


def book(tick: int, instrument: str = GC, **changes: object) -> Json:
    """A book of one bid and two asks; what is absent is null."""
    price = 4_150 * PRICE_SCALE
    return {
        "venue": instrument[:4],
        "instrument": instrument,
        "ts_event": T0_NS + tick,
        "ts_recv": T0_NS + tick + 1_000,
        "seq": tick,
        "state": "NORMAL",
        "quality": "LIVE",
        "mid_price": price + PRICE_SCALE // 20,
        "micro_price": price + 25_000_000,
        "imbalance": -200_000_000,
        "bid_1_price": price,
        "bid_1_size": 2 * PRICE_SCALE,
        "ask_1_price": price + PRICE_SCALE // 10,
        "ask_1_size": PRICE_SCALE,
        "ask_2_price": price + PRICE_SCALE // 5,
        "ask_2_size": 2 * PRICE_SCALE,
    } | changes


def opportunity(buy: str = GC, sell: str = GOLD, **changes: object) -> Json:
    """An opportunity to buy abroad and sell in India, of which little is said."""
    text = {name: "" for name in ARBITRAGE.names if ARBITRAGE.field(name).type == pa.utf8()}
    legs = {"direction": "buy_foreign", "buy_instrument": buy, "sell_instrument": sell}
    return dict.fromkeys(ARBITRAGE.names) | text | legs | {"ts_event": T0_NS} | changes


def status(quality: str, instrument: str | None = GC, venue: str = "XCEC") -> Json:
    return {"venue": venue, "instrument": instrument, "ts_event": T0_NS, "quality": quality, "reason": "a test"}


def feed_gap(venue: str = "XCEC") -> Json:
    return {
        "gap_id": f"{venue}/1/a/5",
        "venue": venue,
        "channel": "a",
        "seq_from": 5,
        "seq_to": 9,
        "ts_detected": T0_NS,
        "ts_resolved": None,
        "resolution": None,
        "recovered_rows": 0,
        "reason": "lost",
    }


SCHEMAS: Mapping[str, pa.Schema] = {
    "ticks": TICKS,
    "bars": BARS,
    "books": BOOKS,
    "status": STATUS,
    "gaps": GAPS,
    "news": NEWS,
    "arbitrage": ARBITRAGE,
    "anomalies": ANOMALIES,
    "forecasts": FORECASTS,
    "trade_events": TRADE_EVENTS,
}


def forecast(number: int, horizon_s: int = 60, level: int = 900_000_000) -> Json:
    return {
        "venue": "XCEC",
        "instrument": GC,
        "model": "naive",
        "ts_made": T0_NS + number,
        "horizon_s": horizon_s,
        "level": level,
        "ts_target": T0_NS + number + horizon_s * 10**9,
        "price": 4_150_100_000_000,
        "mean": 4_150_100_000_000,
        "lo": 4_149_000_000_000,
        "hi": None,
        "crash_probability": 21_000_000,
        "reason": "no_skill",
        "skill": None,
        "coverage": 904_000_000,
        "scored": 240,
        "as_known_at": T0_NS + number + 1_000,
    }


def anomaly(number: int, ts_end: int | None = None) -> Json:
    return {
        "anomaly_id": f"A{number}",
        "venue": "XCEC",
        "instrument": GC,
        "ts_event": T0_NS + number,
        "ts_end": ts_end,
        "kind": "return_spike",
        "severity": "high",
        "score": 7_500_000_000,
        "value": 4_012_300_000_000,
        "expected": None,
        "witness": "bad_tick",
        "detail": '{"move_bps":150.1}',
        "as_known_at": T0_NS + number + 1_000,
    }


def own_trade(number: int, user: str = "asha", instrument: str = GC, **changes: object) -> Json:
    return {
        "event_id": f"e-{number}",
        "event_type": "matched",
        "trade_id": f"t-{number}",
        "user_id": user,
        "instrument": instrument,
        "side": -1,
        "quantity": 5 * PRICE_SCALE,
        "price": 4_150 * PRICE_SCALE,
        "ts_event": T0_NS + number,
        "ts_recv": T0_NS + number + 1_000,
    } | changes


def headline(number: int, instruments: str = GC) -> Json:
    return {
        "news_id": f"N{number}",
        "venue": "BBG",
        "ts_event": T0_NS + number,
        "ts_recv": T0_NS + number + 1_000,
        "headline": f'Duty "cut" {number}',
        "body": "To 6 %",
        "topics": "gold silver",
        "instruments": instruments,
        "urgency": 2,
    }


def batch(kind: str, *rows: Json) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=SCHEMAS[kind])


def rows(kind: str, *values: Json) -> list[Row]:
    return rows_of(Record(offset=0, ts_append=0, kind=kind, payload=batch(kind, *values)))


class Timers:
    """Time for ClientQueue: what it schedules runs when the test says that time passes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, delay_s: float, call: Callable[[], None]) -> None:
        self._calls.append((self.now_s + delay_s, call))

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        due = [call for at_s, call in self._calls if at_s <= self.now_s]
        self._calls = [(at_s, call) for at_s, call in self._calls if at_s > self.now_s]
        for call in due:
            call()


def new_queue(timers: Timers | None = None, **options: Any) -> ClientQueue:
    timers = timers or Timers()
    return ClientQueue(now=lambda: T0_NS, wake=lambda _: None, schedule=timers.schedule, **options)


def drain(queue: ClientQueue, max_bytes: int = 1 << 30) -> list[Json]:
    """Take what a socket would and read it back, frame by frame."""
    return unframe(b"".join(queue.take(max_bytes)))


def drain_all(queue: ClientQueue) -> list[Json]:
    messages: list[Json] = []
    while not queue.empty:
        messages += drain(queue)
    return messages


def unframe(data: bytes) -> list[Json]:
    messages = []
    while data:
        assert data[0] == 0x81, "not a final text frame"
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        messages.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return messages


class SequenceChecker:
    """Fails at the first hole that neither `skipped` nor a gap explains; keeps what was received."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, str, str], int] = {}
        self.updates: list[Json] = []
        self.gaps: list[Json] = []

    def feed(self, messages: list[Json]) -> None:
        for message in messages:
            if message["op"] in ("snapshot", "gap", "update"):
                self._check(message)

    def _check(self, message: Json) -> None:
        key = (message["channel"], message["instrument"], message.get("interval", ""))
        last = self.last.get(key)
        if message["op"] == "snapshot":
            assert last is None or message["seq"] >= last, (last, message)
            self.last[key] = message["seq"]
        elif message["op"] == "gap":
            self.gaps.append(message)
            assert last is None or message["from"] <= last + 1, (last, message)
            self.last[key] = max(message["to"], last or 0)
        else:
            assert last is not None, f"an update without an image before it: {message}"
            assert message["seq"] == last + 1 + message.get("skipped", 0), (last, message)
            self.last[key] = message["seq"]
            self.updates.append(message)


class MemoryLog:
    """Stands for a log of any kind behind the LogReader Protocol: records in lists, retention on demand."""

    def __init__(self) -> None:
        # First offset kept and all records: one value, replaced whole, since the follower reads in its own thread.
        self._kept: dict[TopicPartition, tuple[int, list[Record]]] = {}
        self.failure: Exception | None = None

    def append(self, topic: str, kind: str, *values: Json) -> None:
        self.append_batch(topic, kind, batch(kind, *values))

    def append_batch(self, topic: str, kind: str, payload: pa.RecordBatch, keep_from: int | None = None) -> None:
        """Append a record; with `keep_from`, retention drops the records before it at the same instant."""
        tp = TopicPartition(topic)
        begin, records = self._kept.get(tp, (0, []))
        begin = begin if keep_from is None else keep_from
        filler = [self._record(offset, kind, payload) for offset in range(len(records), begin)]
        self._kept[tp] = begin, [*records, *filler, self._record(len(records) + len(filler), kind, payload)]

    def _record(self, offset: int, kind: str, payload: pa.RecordBatch) -> Record:
        return Record(offset=offset, ts_append=T0_NS, kind=kind, payload=payload)

    def partitions(self, pattern: str) -> list[TopicPartition]:
        if self.failure is not None:
            raise self.failure
        return sorted(tp for tp in list(self._kept) if fnmatchcase(tp.topic, pattern))

    def begin_offset(self, tp: TopicPartition) -> int:
        return self._kept[tp][0]

    def end_offset(self, tp: TopicPartition) -> int:
        return len(self._kept[tp][1])

    def behind(self, tp: TopicPartition, offset: int) -> int:
        return max(0, self.end_offset(tp) - offset)

    def read(self, tp: TopicPartition, offset: int, max_bytes: int = 4 << 20) -> list[Record]:  # noqa: ARG002
        begin, records = self._kept[tp]
        if not begin <= offset <= len(records):
            raise OffsetOutOfRange(tp, offset, begin, len(records))
        return records[offset : offset + 3]  # a few at a time, as a real log gives what fits

    def wait(self, timeout_s: float) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        pass
