"""The arbitrage flow: ticks and the exchange rate among them in; out, once, what one kernel over all of it says."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from arbitrage_ticks import CL, FAIR, MCX, Tick, batch, fair
from leg_rows import depth_batch, image
from prometheus_client import REGISTRY

from connectors.feed import Flush
from connectors.log import open_reader
from connectors.ticks import DetachedRows
from market import topics
from market.arbitrage import FX, ArbitrageKernel
from market.columns import concat_batches
from market.legs import CHANGE
from market.records import TopicPartition
from market.reference import Reference
from market.schemas import BUY, DIRTY, PRICE_SCALE, QUOTE, TICKS
from pipelines import arbitrage, ingest
from pipelines.engine.log_source import legs_of, ticks_of
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer

WTI = topics.prices("wti")
OUT = TopicPartition(topics.ARBITRAGE, topics.FROM_ANALYTICS)


@pytest.fixture
def log(tmp_path: Path) -> str:
    return (tmp_path / "log").as_uri()


def append(log: str, found: list[Tick]) -> None:
    """One record a tick, the rate's of kind fx, as ingest writes them."""
    writer = open_writer(log)
    for tick in found:
        kind = topics.FX_KIND if tick.name == FX else "ticks"
        writer.append(WTI, kind, batch([tick]).select(TICKS.names), key="wti")
    writer.flush()
    writer.close()


def run(log: str, directory: Path) -> None:
    stop = Event()
    stop.set()
    config = arbitrage.ArbitrageConfig(
        open_reader=partial(open_reader, log), open_writer=partial(open_writer, log), now=lambda: 0, stop=stop
    )
    run_flow("arbitrage", partial(arbitrage.build, config), directory)


def said(log: str) -> list[dict[str, Any]]:
    reader = open_reader(log)
    records = reader.read(OUT, reader.begin_offset(OUT), 1 << 20)
    reader.close()
    return [row for record in records for row in record.batch.to_pylist()]


def test_opportunities_go_out_once_over_restarts(log: str, tmp_path: Path) -> None:
    first, second = fair(0, 30), [*fair(30, 2, FAIR * 1003 / 1000), *fair(32, 1)]
    append(log, first)
    run(log, tmp_path / "recovery")
    append(log, second)
    run(log, tmp_path / "recovery")
    run(log, tmp_path / "recovery")
    kernel = ArbitrageKernel()
    rows = concat_batches([batch([tick]) for tick in [*first, *second]])
    assert said(log) == kernel.on_batch(rows)["arbitrage"].to_pylist()
    assert [row["state"] for row in said(log) if row["state"] != "watch"] == ["silent", "open", "update", "close"]
    assert REGISTRY.get_sample_value("mandi_arbitrage_open", {"commodity": "wti"}) == 0


def test_ingest_tells_the_rate_in_topics_that_compare_and_in_no_other(log: str) -> None:
    def part(found: list[Tick], commodity: str) -> Any:
        names = batch(found).select(TICKS.names)
        coded = [c.indices if isinstance(c, pa.DictionaryArray) else c for c in names.columns]
        rows = list(zip(*(column.to_pylist() for column in coded), strict=True))
        names_of = [names.column(name).dictionary.to_pylist() for name in ("venue", "instrument")]
        return DetachedRows(kind="ticks", commodity=commodity, rows=rows, venues=names_of[0], instruments=names_of[1])

    rate, crude, local = (fair(0, 1)[n] for n in range(3))
    config = ingest.IngestConfig(
        feeds={},
        open_reader=partial(open_reader, log),
        open_writer=partial(open_writer, log),
        now=lambda: 0,
        stop=Event(),
    )
    process = ingest._FlushSink(config, ingest._Duty()).build_part("log", "log", None)
    for venue, parts in (
        ("mcx", [part([crude, local], "wti"), part([crude], "sugar")]),
        ("bloomberg", [part([rate], "usdinr")]),
    ):
        nothing: dict[str, Any] = dict.fromkeys(("rejected", "gaps", "status", "news"))
        process.write_batch([Flush(venue=venue, counters={}, prices=parts, positions={}, **nothing)])
    process.close()
    reader = open_reader(log)
    kinds = {c: [r.kind for r in reader.read(topics.prices(c), 0, 1 << 20)] for c in ("wti", "sugar", "usdinr")}
    assert kinds == {"wti": ["ticks", "fx"], "sugar": ["ticks"], "usdinr": ["ticks"]}
    assert not reader.partitions(topics.prices("gold").topic)  # nothing has come of it yet
    records = reader.read(WTI, 0, 1 << 20)
    reader.close()
    ((_, plain),) = ticks_of(WTI, records, True)
    ((_, rated),) = ticks_of(WTI, records, True, kinds=("ticks", "fx"))
    assert plain.arrivals.column("instrument").to_pylist() == [CL, MCX]
    assert rated.arrivals.column("instrument").to_pylist() == [CL, MCX, FX]
    assert (plain.first, plain.next) == (rated.first, rated.next) == (0, 2)
    assert "wti" in Reference.load().commodities


def test_books_reach_the_kernel_in_the_order_of_the_log(log: str, tmp_path: Path) -> None:
    rich = [*fair(30, 1, FAIR * 1003 / 1000)]
    top = [replace(tick, lots=9) if tick.name == MCX else tick for tick in rich]
    price = batch(top[-1:]).column("bid_price")[0].as_py()
    book = image(MCX, top[0].at, (BUY, price, 9 * PRICE_SCALE), (BUY, price - PRICE_SCALE, 11 * PRICE_SCALE))
    append(log, [*fair(0, 30), *top[:2]])
    run(log, tmp_path / "recovery")  # a restart between the image and what it is used for
    append_depth(log, book)
    run(log, tmp_path / "recovery")
    append(log, top[2:])
    append_depth(log, [{**book[0], "action": DIRTY, "last": True}])
    append(log, [replace(tick, at=tick.at + n * 10**9) for n in (1, 2) for tick in top])
    run(log, tmp_path / "recovery")
    opened, closed = (next(row for row in said(log) if row["state"] == state) for state in ("open", "close"))
    assert (opened["size"], opened["foreign_size"]) == (20 * PRICE_SCALE, 2 * PRICE_SCALE)
    assert opened["sell_price"] == (9 * price + 11 * (price - PRICE_SCALE)) // 20
    assert closed["reason"] == "thin: too few lots are left"
    reader = open_reader(log)
    records = reader.read(WTI, 92, 1 << 20)
    reader.close()
    ((_, chunk),) = legs_of(WTI, records, True)
    rows = chunk.arrivals.to_pylist()
    kinds = [row["kind"] for row in rows]
    assert kinds == [CHANGE] * 3 + [QUOTE, CHANGE] + [QUOTE] * 6
    assert [row["price"] for row in rows if row["kind"] == CHANGE] == [None, price, price - PRICE_SCALE, None]


def append_depth(log: str, rows: list[dict[str, Any]]) -> None:
    writer = open_writer(log)
    writer.append(WTI, "depth", depth_batch(rows), key="wti")
    writer.flush()
    writer.close()
