"""Arrow batches of the log -> rows as JSON text, exact: the gateway's JSON edge. Pure.

Units: times become decimal strings of ns, prices and sizes plain decimal numbers made from the int64 text,
never through a float. Column names are those of the stores. `side` is "buy", "sell" or null.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

import orjson
import pyarrow as pa

from market.instruments import format_fixed
from market.packed import PackedRows
from market.parity import BUY_FOREIGN
from market.records import Record
from market.schemas import BOOKS, BUY, PRICE_SCALE, QUOTE, SELL, TRADE, require

_BOOK_NUMBERS: Final = BOOKS.names[BOOKS.names.index("mid_price") :]
_SIDE_TEXT: Final = {BUY: '"buy"', SELL: '"sell"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class BarVersion:
    """Which state of which bar a row is; `revision, final` order the states of one bar."""

    ts_open: int
    revision: int
    final: bool
    as_known_at: int
    trades: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row for the wire. `instrument` names the stream; what concerns a whole venue is `MIC:*`."""

    channel: str
    instrument: str
    venue: str
    data: bytes  # a JSON object
    ts_recv: int | None  # what end-to-end latency is measured from
    interval: str = ""
    bar: BarVersion | None = None
    other_venue: str = ""  # a second venue whose data is in it
    quality: str = ""  # status rows
    reason: str = ""
    ts_event: int = 0
    user: str = ""  # whose row it is; empty: everybody's


@lru_cache(maxsize=65_536)
def decimal_text(value: int) -> str:
    """Return an int64 scaled by 1e-9 as its shortest exact decimal.

    Example:
        >>> decimal_text(4_150_100_000_000), decimal_text(-37_630_000_000), decimal_text(2_000_000_000)
        ('4150.1', '-37.63', '2')
    """
    whole, fraction = divmod(abs(value), PRICE_SCALE)
    text = f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


@lru_cache(maxsize=16_384)
def json_text(value: str | None) -> str:
    """Return a string, or null, as JSON; cached, since names repeat."""
    return orjson.dumps(value).decode()


def rows_of(record: Record) -> list[Row]:
    """Return the rows of a log record that go out, in order; clock rows do not.

    Raises: SchemaMismatch if the batch is not what its kind promises; BadPackedRows.
    """
    if record.kind == "ticks":
        return list(_tick_rows(_tuples(record)))
    reader = _READERS.get(record.kind)
    return [] if reader is None else list(reader(require(record.kind, record.batch)))


def _tuples(record: Record) -> Iterable[tuple[Any, ...]]:
    if isinstance(record.payload, PackedRows):
        return record.payload.rows()
    return zip(*(column.to_pylist() for column in require("ticks", record.batch).columns), strict=True)


def _number(value: int | None) -> str:
    return "null" if value is None else decimal_text(value)


def _time(value: int | None) -> str:
    return "null" if value is None else f'"{value}"'


def _int(value: int | None) -> str:
    return "null" if value is None else str(value)


def _exact(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _dicts(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    # Column by column is about twice as fast as RecordBatch.to_pylist; this is the JSON edge.
    names = batch.schema.names
    for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _tick_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    for row in rows:
        (kind, venue, instrument, ts_event, ts_recv, seq, price, size, side, trade_id, *quote, flags) = row
        if kind == TRADE:
            # Trade ids never repeat: caching them would only push names out of the cache.
            id_text = "null" if trade_id is None else orjson.dumps(trade_id).decode()
            channel, fields = (
                "trades",
                (
                    f'"trade_id":{id_text},"price":{_number(price)},"size":{_number(size)},'
                    f'"side":{_SIDE_TEXT.get(side, "null")}'
                ),
            )
        elif kind == QUOTE:
            bid_price, bid_size, ask_price, ask_size = quote
            channel, fields = (
                "quotes",
                (
                    f'"bid_price":{_number(bid_price)},"bid_size":{_number(bid_size)},'
                    f'"ask_price":{_number(ask_price)},"ask_size":{_number(ask_size)}'
                ),
            )
        else:
            continue
        data = (
            f'{{"instrument":{json_text(instrument)},"ts_event":"{ts_event}","seq":{_int(seq)},'
            f'"venue":{json_text(venue)},"ts_recv":{_time(ts_recv)},{fields},"flags":{flags}}}'
        )
        yield Row(
            channel=channel,
            instrument=instrument,
            venue=venue,
            data=data.encode(),
            ts_recv=ts_recv,
            ts_event=ts_event,
        )


def _bar_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        version = BarVersion(
            ts_open=row["ts_open"],
            revision=row["revision"],
            final=row["final"],
            as_known_at=row["as_known_at"],
            trades=row["trades"],
        )
        yield Row(
            channel="bars",
            instrument=row["instrument"],
            interval=row["interval"],
            venue=row["venue"],
            data=_bar_json(row).encode(),
            ts_recv=row["as_known_at"],
            ts_event=row["ts_open"],
            bar=version,
        )


def _bar_json(row: dict[str, Any]) -> str:
    return (
        f'{{"instrument":{json_text(row["instrument"])},"interval":{json_text(row["interval"])},'
        f'"ts_open":"{row["ts_open"]}","ts_close":"{row["ts_close"]}","revision":{row["revision"]},'
        f'"final":{"true" if row["final"] else "false"},"venue":{json_text(row["venue"])},'
        f'"open":{decimal_text(row["open"])},"high":{decimal_text(row["high"])},'
        f'"low":{decimal_text(row["low"])},"close":{decimal_text(row["close"])},'
        f'"volume":{_exact(row["volume"])},"vwap":{decimal_text(row["vwap"])},"trades":{row["trades"]},'
        f'"quality":{json_text(row["quality"])},"as_known_at":"{row["as_known_at"]}"}}'
    )


def _book_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        numbers = ",".join(f'"{name}":{_number(row[name])}' for name in _BOOK_NUMBERS)
        data = (
            f'{{"venue":{json_text(row["venue"])},"instrument":{json_text(row["instrument"])},'
            f'"ts_event":"{row["ts_event"]}","ts_recv":{_time(row["ts_recv"])},"seq":{_int(row["seq"])},'
            f'"state":{json_text(row["state"])},"quality":{json_text(row["quality"])},{numbers}}}'
        )
        yield Row(
            channel="book",
            instrument=row["instrument"],
            venue=row["venue"],
            data=data.encode(),
            ts_recv=row["ts_recv"],
            ts_event=row["ts_event"],
        )


def _status_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        data = (
            f'{{"kind":"status","venue":{json_text(row["venue"])},"instrument":{json_text(row["instrument"])},'
            f'"ts_event":"{row["ts_event"]}","quality":{json_text(row["quality"])},'
            f'"reason":{json_text(row["reason"])}}}'
        )
        yield Row(
            channel="status",
            instrument=row["instrument"] or f"{row['venue']}:*",
            venue=row["venue"],
            data=data.encode(),
            ts_recv=row["ts_event"],
            ts_event=row["ts_event"],
            quality=row["quality"],
            reason=row["reason"],
        )


def _gap_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        data = (
            f'{{"kind":"gap","gap_id":{json_text(row["gap_id"])},"venue":{json_text(row["venue"])},'
            f'"instrument":null,"channel":{json_text(row["channel"])},"seq_from":{row["seq_from"]},'
            f'"seq_to":{row["seq_to"]},"ts_detected":"{row["ts_detected"]}",'
            f'"ts_resolved":{_time(row["ts_resolved"])},"resolution":{json_text(row["resolution"])},'
            f'"recovered_rows":{row["recovered_rows"]},"reason":{json_text(row["reason"])}}}'
        )
        yield Row(
            channel="status",
            instrument=f"{row['venue']}:*",
            venue=row["venue"],
            data=data.encode(),
            ts_recv=row["ts_resolved"] or row["ts_detected"],
            ts_event=row["ts_resolved"] or row["ts_detected"],
            reason=row["reason"],
        )


def _news_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        data = {
            "news_id": row["news_id"],
            "venue": row["venue"],
            "ts_event": str(row["ts_event"]),
            "ts_recv": None if row["ts_recv"] is None else str(row["ts_recv"]),
            "headline": row["headline"],
            "body": row["body"],
            "topics": row["topics"].split(),
            "instruments": row["instruments"].split(),
            "urgency": row["urgency"],
        }
        yield Row(
            channel="news",
            instrument=f"{row['venue']}:*",
            venue=row["venue"],
            data=orjson.dumps(data),
            ts_recv=row["ts_recv"],
            ts_event=row["ts_event"],
        )


def _arbitrage_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        text = {name: value for name, value in row.items() if isinstance(value, str)}
        fields = {name: json_text(value) for name, value in text.items()}
        fields["ts_event"] = f'"{row["ts_event"]}"'
        fields["assumed"] = orjson.dumps(row["assumed"].split()).decode()
        for name, value in row.items():
            if name not in fields:
                fields[name] = _int(value) if name.endswith("_ms") else _number(value)
        legs = row["sell_instrument"], row["buy_instrument"]
        local, foreign = legs if row["direction"] == BUY_FOREIGN else reversed(legs)
        yield Row(
            channel="arbitrage",
            instrument=local,
            venue=local.partition(":")[0],
            other_venue=foreign.partition(":")[0],
            data=("{" + ",".join(f'"{name}":{fields[name]}' for name in row) + "}").encode(),
            ts_recv=row["ts_event"],
            ts_event=row["ts_event"],
        )


def _anomaly_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        data = {
            **row,
            "ts_event": str(row["ts_event"]),
            "ts_end": None if row["ts_end"] is None else str(row["ts_end"]),
            "score": _plain(row["score"]),
            "value": None if row["value"] is None else _plain(row["value"]),
            "expected": None if row["expected"] is None else _plain(row["expected"]),
            "detail": orjson.Fragment(row["detail"]),
            "as_known_at": str(row["as_known_at"]),
        }
        yield Row(
            channel="anomalies",
            instrument=row["instrument"],
            venue=row["venue"],
            data=orjson.dumps(data),
            ts_recv=row["as_known_at"],
            ts_event=row["ts_event"],
        )


def _forecast_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """One row a forecast, of the shortest horizon and its widest interval; all of them are in `cone`."""
    for _, cone in groupby(_dicts(batch), lambda row: (row["instrument"], row["ts_made"])):
        found = list(cone)
        first = found[0]
        data = [{name: _wire(name, value) for name, value in row.items()} for row in found]
        shown = [{name: row[name] for name in _CONE} for row in data]
        yield Row(
            channel="forecasts",
            instrument=first["instrument"],
            venue=first["venue"],
            data=orjson.dumps({**data[0], "cone": shown}),
            ts_recv=first["as_known_at"],
            ts_event=first["ts_made"],
        )


def _wire(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str) or name in ("horizon_s", "scored"):
        return value
    return str(value) if name.startswith("ts_") or name == "as_known_at" else _plain(value)


_CONE: Final = ("horizon_s", "level", "ts_target", "mean", "lo", "hi", "crash_probability", "skill", "coverage")


def _trade_event_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    for row in _dicts(batch):
        fields = {name: json_text(row[name]) for name in ("event_type", "user_id", "instrument")}
        fields |= {name: orjson.dumps(row[name]).decode() for name in ("event_id", "trade_id")}
        fields |= {name: _time(row[name]) for name in ("ts_event", "ts_recv", "as_known_at")}
        fields["side"] = _SIDE_TEXT.get(row["side"], "null")
        fields |= {name: _number(value) for name, value in row.items() if name not in fields}
        yield Row(
            channel="user.trades",
            instrument=row["instrument"],
            venue=row["instrument"].partition(":")[0],
            data=("{" + ",".join(f'"{name}":{fields[name]}' for name in row) + "}").encode(),
            ts_recv=row["as_known_at"] or row["ts_recv"],
            ts_event=row["ts_event"],
            user=row["user_id"],
        )


def _plain(fixed: int) -> orjson.Fragment:
    return orjson.Fragment(format_fixed(fixed))


_READERS: Final = {
    "bars": _bar_rows,
    "books": _book_rows,
    "status": _status_rows,
    "gaps": _gap_rows,
    "news": _news_rows,
    "anomalies": _anomaly_rows,
    "forecasts": _forecast_rows,
    "arbitrage": _arbitrage_rows,
    "trade_events": _trade_event_rows,
}
