"""What ClickHouse's codecs, orderings and the analysts' views cost, on trades and quotes of a few simulated days.

python -m benchmarks.analytics [--days 4] [--rows 500000]

Candidates differ from the migrated table in what their name says. Each is filled from it by the server, merged into
one part, and asked the same: a day of an instrument, and a day of all of them.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from market.schemas import PRICE_SCALE, QUOTES, TRADES
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.migrations import migrate_clickhouse

DAYS: Final = 4
ROWS: Final = 500_000  # of trades, and of quotes, a day
_REPEATS: Final = 3
_SEED: Final = 11
_DAY_NS: Final = 86_400 * 10**9
_FIRST_NS: Final = 1_795_046_400 * 10**9  # 2026-11-19
_ROOTS: Final = ("XCEC:GC", "XCEC:SI", "XCEC:HG", "XIMC:GOLD", "XIMC:SILVER", "XNYM:CL", "XNYM:NG", "XCBT:ZW")
_INSTRUMENTS: Final = [f"{root}:{month}" for root in _ROOTS for month in (202612, 202702)]

_PLAIN: Final = dict.fromkeys(("ts_event", "ts_recv", "seq", "price", "bid_price", "ask_price"), "CODEC(ZSTD(1))")
_CODECS: Final[dict[str, dict[str, str]]] = {
    "as_migrated": {},
    "zstd_only": _PLAIN,
    "times_delta": {"ts_event": "CODEC(Delta, ZSTD(1))", "ts_recv": "CODEC(Delta, ZSTD(1))"},
    "times_t64": {"ts_event": "CODEC(T64, ZSTD(1))", "ts_recv": "CODEC(T64, ZSTD(1))"},
    "prices_t64": dict.fromkeys(("price", "bid_price", "ask_price"), "CODEC(T64, ZSTD(1))"),
    "prices_plain": dict.fromkeys(("price", "bid_price", "ask_price"), "CODEC(ZSTD(1))"),
    "sizes_t64": dict.fromkeys(("size", "bid_size", "ask_size"), "CODEC(T64, ZSTD(1))"),
    "seq_t64": {"seq": "CODEC(T64, ZSTD(1))"},
    "lz4": dict.fromkeys(("ts_event", "ts_recv", "seq", "price", "bid_price", "ask_price"), "CODEC(Delta, LZ4)"),
    "zstd_3": {
        **dict.fromkeys(("ts_event", "ts_recv"), "CODEC(DoubleDelta, ZSTD(3))"),
        **dict.fromkeys(("seq", "price", "bid_price", "ask_price"), "CODEC(Delta, ZSTD(3))"),
    },
}
_ORDERS: Final = {"time_first": "ts_event, instrument, seq", "by_venue": "venue, instrument, ts_event, seq"}
_VIEWS: Final = ("trade_days", "venue_days", "spread_profile", "volume_profile", "volume_at_price")


def bench_analytics(directory: Path, days: int = DAYS, rows: int = ROWS) -> Mapping[str, object]:
    """Measure both tables and all views.

    Units: `bytes_per_row` compressed; `fill_s`, `one_s`, `all_s` seconds, the best of three but for `fill_s`.
    """
    server = EmbeddedClickHouse(directory / "clickhouse", port=0)
    try:
        url = server.start()
        migrate_clickhouse(url)
        sink = ClickHouseSink(url)
        for day in range(days):
            sink.write({"trades": [_ticks("trades", day, rows)], "quotes": [_ticks("quotes", day, rows)]})
        sink.close()
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False, send_receive_timeout=600)
        try:
            tables = {table: _candidates(client, table) for table in ("trades", "quotes")}
            return {"days": days, "rows_a_day": rows, **tables, "views": _views(client)}
        finally:
            client.close()
    finally:
        server.stop()


def _ticks(table: str, day: int, rows: int) -> pa.RecordBatch:
    """A day of random walks, each in whole steps, at exponential times, with the sizes of a futures market."""
    chance = np.random.default_rng([_SEED, day, table == "quotes"])
    codes = chance.integers(0, len(_INSTRUMENTS), rows)
    ts_event = _FIRST_NS + day * _DAY_NS + np.sort(chance.integers(0, _DAY_NS, rows))
    price = PRICE_SCALE * 1_000 * (1 + codes) + PRICE_SCALE // 10 * np.cumsum(chance.integers(-1, 2, rows))
    size = chance.geometric(0.3, (2, rows)) * PRICE_SCALE
    columns = {
        "venue": pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int8)), pa.array([name[:4] for name in _INSTRUMENTS])
        ),
        "instrument": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(_INSTRUMENTS)),
        "ts_event": pa.array(ts_event),
        "ts_recv": pa.array(ts_event + (chance.lognormal(0, 0.5, rows) * 2e6).astype(np.int64)),
        "seq": pa.array(day * rows * 8 + np.cumsum(chance.integers(1, 8, rows))),
        "trade_id": pa.array(day * rows + np.arange(rows)).cast(pa.utf8()),
        "price": pa.array(price),
        "size": pa.array(size[0]),
        "side": pa.array(chance.choice(np.array([-1, 1], np.int8), rows)),
        "bid_price": pa.array(price),
        "bid_size": pa.array(size[0]),
        "ask_price": pa.array(price + PRICE_SCALE // 10 * chance.integers(1, 4, rows)),
        "ask_size": pa.array(size[1]),
        "flags": pa.array(np.zeros(rows, np.int32)),
    }
    schema = TRADES if table == "trades" else QUOTES
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _candidates(client: Client, table: str) -> dict[str, dict[str, float]]:
    found = {name: _candidate(client, table, name, codecs) for name, codecs in _CODECS.items()}
    return found | {name: _candidate(client, table, name, {}, order) for name, order in _ORDERS.items()}


def _candidate(
    client: Client, table: str, name: str, codecs: Mapping[str, str], order: str | None = None
) -> dict[str, float]:
    described = client.query(f"DESCRIBE TABLE market.{table}").named_results()
    columns = ", ".join(f"{row['name']} {row['type']} {_codec(row, codecs)}" for row in described)
    tables = f"system.tables WHERE database = 'market' AND name = '{table}'"
    key = order or _one(client, f"SELECT sorting_key FROM {tables}")
    client.command(
        f"CREATE TABLE market.{table}_{name} ({columns}) ENGINE = ReplacingMergeTree "
        f"PARTITION BY toYYYYMM(ts_event) ORDER BY ({key})"
    )
    fill_s = _seconds(client, f"INSERT INTO market.{table}_{name} SELECT * FROM market.{table}", 1)
    client.command(f"OPTIMIZE TABLE market.{table}_{name} FINAL")
    parts = f"system.parts WHERE active AND table = '{table}_{name}'"
    size = _one(client, f"SELECT sum(data_compressed_bytes) / sum(rows) FROM {parts}")
    asked = "sum(size), max(price)" if table == "trades" else "sum(bid_size), max(ask_price)"
    where = f"FROM market.{table}_{name} WHERE toDate(ts_event) = '2026-11-20'"
    figures = {
        "bytes_per_row": float(size),
        "fill_s": fill_s,
        "one_s": _seconds(client, f"SELECT {asked} {where} AND instrument = 'XIMC:GOLD:202612'"),
        "all_s": _seconds(client, f"SELECT instrument, {asked} {where} GROUP BY instrument"),
    }
    client.command(f"DROP TABLE market.{table}_{name}")
    return {what: round(value, 4) for what, value in figures.items()}


def _one(client: Client, query: str) -> Any:
    return client.query(query).result_rows[0][0]


def _codec(column: Mapping[str, Any], codecs: Mapping[str, str]) -> str:
    kept = str(column["codec_expression"])
    return codecs.get(str(column["name"]), f"CODEC({kept})" if kept else "")


def _views(client: Client) -> dict[str, dict[str, float]]:
    """Each view for a day of one instrument, a day of all, and everything there is; then with each row twice."""
    figures = {name: _view(client, name) for name in _VIEWS}
    client.command("SYSTEM STOP MERGES")
    for table in ("trades", "quotes"):
        client.command(f"INSERT INTO market.{table} SELECT * FROM market.{table}")
    for name in _VIEWS:
        figures[name] |= {f"twice_{what}": value for what, value in _view(client, name).items()}
    return figures


def _view(client: Client, name: str) -> dict[str, float]:
    one = "venue = 'XIMC'" if name == "venue_days" else "instrument = 'XIMC:GOLD:202612'"
    query = f"SELECT * FROM market.{name}"
    return {
        "one_s": round(_seconds(client, f"{query} WHERE day = '2026-11-20' AND {one}"), 4),
        "all_s": round(_seconds(client, f"{query} WHERE day = '2026-11-20'"), 4),
        "every_day_s": round(_seconds(client, query), 4),
    }


def _seconds(client: Client, statement: str, repeats: int = _REPEATS) -> float:
    """The quickest of some runs: the first ones also fill caches."""
    best = float("inf")
    for _ in range(repeats):
        begun_s = time.perf_counter()
        client.command(statement) if statement.startswith("INSERT") else client.query(statement)
        best = min(best, time.perf_counter() - begun_s)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mandi-bench-") as directory:
        print(json.dumps(bench_analytics(Path(directory), arguments.days, arguments.rows), indent=2))


if __name__ == "__main__":
    main()
