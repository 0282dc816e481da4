"""The joins flow: events and ticks in the log, in; on `user.trades`, once, each event with the market joined to it."""

from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from join_rows import nothing
from prometheus_client import REGISTRY
from simulated_arrivals import START_NS, S, batch

from connectors.log import open_reader
from market import topics
from market.instruments import InstrumentMaster
from market.records import JSON_KIND, TopicPartition
from market.schemas import QUOTE, TICKS
from market.trade_events import parse_event, to_log
from market.trade_join import JOIN_ARRIVALS
from pipelines import joins
from pipelines.backend import EVENTS
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer

GC, GOLD = "XCEC:GC:202612", "XIMC:GOLD:202612"
OUT = TopicPartition(topics.USER_TRADES, topics.FROM_ANALYTICS)


def quotes(log: str, instrument: str, prices: dict[int, int]) -> None:
    """A record of gold's ticks: the mid price from a second on."""
    rows = [
        {
            "kind": QUOTE,
            "instrument": instrument,
            "ts_event": START_NS + second * S,
            "ts_recv": START_NS + second * S,
            "bid_price": (price - 1) * S,
            "ask_price": (price + 1) * S,
        }
        for second, price in prices.items()
    ]
    write(log, topics.prices("gold"), "ticks", batch(rows).select(TICKS.names))


def event(log: str, number: int, second: int, instrument: str, price: int, **meta: int) -> None:
    ts = START_NS + second * S
    raw = (
        f'{{"version":1,"event_id":"e-{number}","type":"matched","trade_id":"t-{number}","user":"asha","side":"buy",'
        f'"instrument":"{instrument}","quantity":5,"price":{price},"ts_event":"{ts}"}}'
    )
    write(log, EVENTS, JSON_KIND, to_log(parse_event(raw.encode(), ts + 1, InstrumentMaster.load())), meta)


def write(log: str, tp: TopicPartition, kind: str, payload: Any, meta: Any = None) -> None:
    writer = open_writer(log)
    writer.append(tp, kind, payload, key="", meta=meta or {})
    writer.flush()
    writer.close()


def run(log: str, directory: Path) -> None:
    """Read the log to its end."""
    stop = Event()
    stop.set()
    config = joins.JoinsConfig(
        open_reader=partial(open_reader, log), open_writer=partial(open_writer, log), now=lambda: 0, stop=stop
    )
    run_flow("joins", partial(joins.build, config), directory)


def told(log: str) -> list[tuple]:
    reader = open_reader(log)
    records = reader.read(OUT, reader.begin_offset(OUT), 1 << 20)
    reader.close()
    rows = [row for record in records for row in record.batch.to_pylist()]
    return [(row["event_id"], row["arrival_price"], row["slippage"], row["markout_1m"]) for row in rows]


def test_events_meet_the_market_of_their_shard_once_over_restarts(tmp_path: Path) -> None:
    log, recovery = (tmp_path / "log").as_uri(), tmp_path / "recovery"
    joined = {"outcome": "joined"}
    before = REGISTRY.get_sample_value("mandi_trade_joins_total", joined) or 0
    quotes(log, GC, {0: 4000})
    event(log, 1, 5, GC, 4003)
    event(log, 2, 5, GOLD, 148000)  # no quote of it yet
    run(log, recovery)
    quotes(log, GC, {7: 4010, 64: 4020})
    event(log, 1, 5, GC, 4003, repeats=0)  # by which a broker shuts a writer out
    run(log, recovery)
    quotes(log, GC, {67: 4030})
    run(log, recovery)
    run(log, recovery)
    assert told(log) == [
        ("e-1", None, None, None),
        ("e-2", None, None, None),
        ("e-1", 4000 * S, 3 * S, None),
        ("e-1", 4000 * S, 3 * S, 17 * S),
    ]
    assert (REGISTRY.get_sample_value("mandi_trade_joins_total", joined) or 0) - before == 2


def test_what_is_given_to_the_kernel_has_its_schema() -> None:
    assert nothing().schema == JOIN_ARRIVALS
