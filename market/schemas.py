"""Arrow schemas of everything that crosses a process boundary, with units; checked once per boundary.

Units (all schemas): `ts_*` and `as_known_at` int64 ns UTC; `*_price, price, open, high, low, close, vwap`
int64 scaled by 1e-9 of the instrument's quote unit; `*_size, size` int64 scaled by 1e-9 of a lot;
`quantity` likewise;
`volume` decimal128(38, 9) lots; `slippage` and `markout_*` as prices. An absent value is null, never a sentinel.
"""

from typing import Final

import pyarrow as pa

PRICE_SCALE: Final = 1_000_000_000
"""Prices and sizes are int64 multiples of 1 / PRICE_SCALE (Databento's convention)."""

PRICE_LIMIT: Final = 10**18
"""|price| and size must stay below this (1e9 units): the range of ClickHouse Decimal(18, 9)."""

INTERVALS_NS: Final = {
    "1s": 1_000_000_000,
    "5s": 5_000_000_000,
    "1m": 60_000_000_000,
    "5m": 300_000_000_000,
    "15m": 900_000_000_000,
    "1h": 3_600_000_000_000,
    "1d": 86_400_000_000_000,
}
"""Bar widths. Each divides the next, so a wide bar is the fold of narrow ones. A 1d window is a trade date, of no fixed
length but a whole number of 1h windows: market.windows."""

# Values of TICKS.kind.
TRADE: Final = 0
QUOTE: Final = 1
CLOCK: Final = 2  # a venue's heartbeat: nothing traded up to ts_event. Advances the watermark, is never stored.
BUST: Final = 3  # the trade `trade_id` never was
CORRECTION: Final = 4  # the trade `trade_id` has this price, size and side instead
STATE: Final = 5  # the venue says that an instrument, or all of it (null), is in QUALITIES[size]. Is never stored.

# Values of TICKS.side, the aggressor's side.
BUY: Final = 1
SELL: Final = -1
UNKNOWN_SIDE: Final = 0

QUALITIES: Final = ("LIVE", "STALE", "GAP", "RESYNC", "DELAYED", "HALTED", "CLOSED")


class SchemaMismatch(ValueError):
    """A batch does not have the schema its boundary promises. `expected` and `actual` are the schemas."""

    def __init__(self, name: str, expected: pa.Schema, actual: pa.Schema) -> None:
        differing = [
            f"{field.name}: expected {field.type}, got "
            + (str(actual.field(field.name).type) if field.name in actual.names else "no such column")
            for field in expected
            if field.name not in actual.names or actual.field(field.name).type != field.type
        ]
        super().__init__(f"a {name} batch has another schema: {'; '.join(differing) or actual.names}")
        self.expected = expected
        self.actual = actual


_VENUE: Final = pa.dictionary(pa.int8(), pa.utf8())
_INSTRUMENT: Final = pa.dictionary(pa.int32(), pa.utf8())

_SOURCE: Final = [
    # Where the row came from: log topic/partition or replay file, position in it. The natural key of a ledger row.
    pa.field("source", pa.utf8(), nullable=False),
    pa.field("source_offset", pa.int64(), nullable=False),  # log record offset; 0 for a file
    pa.field("source_row", pa.int64(), nullable=False),  # row in the record, or data row of the file, from 0
]

_TICK_COLUMNS: Final = [
    pa.field("kind", pa.int8(), nullable=False),  # TRADE, QUOTE, CLOCK, BUST, CORRECTION, STATE
    pa.field("venue", _VENUE, nullable=False),  # ISO 10383 MIC
    pa.field("instrument", _INSTRUMENT),  # MIC:ROOT:YYYYMM; null for CLOCK, and a STATE of the whole venue
    pa.field("ts_event", pa.int64(), nullable=False),  # venue's time
    pa.field("ts_recv", pa.int64()),  # our socket's time; null where a file has none
    pa.field("seq", pa.int64()),  # venue's sequence; the row number where a file has none; null for CLOCK
    pa.field("price", pa.int64()),  # TRADE, CORRECTION
    pa.field("size", pa.int64()),  # TRADE, CORRECTION; STATE: an index into QUALITIES
    pa.field("side", pa.int8()),  # TRADE, CORRECTION: BUY, SELL, UNKNOWN_SIDE
    pa.field("trade_id", pa.utf8()),  # TRADE, BUST, CORRECTION; null where the venue has none
    pa.field("bid_price", pa.int64()),  # QUOTE; null when that side is empty
    pa.field("bid_size", pa.int64()),
    pa.field("ask_price", pa.int64()),
    pa.field("ask_size", pa.int64()),
    pa.field("flags", pa.int32(), nullable=False),  # bit set, 0 = plain; see FLAG_*
]

FLAG_SNAPSHOT: Final = 1  # this quote was taken from an image, not from a change
FLAG_REPLAYED: Final = 2  # this row arrived by gap repair, not live
FLAG_CONFLATED: Final = 4  # this trade stands for several: the venue tells the day's volume, not each trade
FLAG_BUST: Final = 8  # in `trades`: no trade; says that the trade of this trade_id never was
FLAG_CORRECTION: Final = 16  # in `trades`: no trade; says what the trade of this trade_id has for price, size and side

TICKS: Final = pa.schema(_TICK_COLUMNS)
"""The main row type of `market.prices.<commodity>`: trades, quotes, clock rows and so on in arrival order."""

# Values of DEPTH.action.
IMAGE: Final = 0  # the book is empty; its levels follow as SET
SET: Final = 1  # the level (or entry) now has this price, size and number of orders
DELETE: Final = 2
INSERT: Final = 3  # at `level`, which pushes the levels behind it away
DIRTY: Final = 4  # something was lost: not to be trusted until the next IMAGE

DEPTH: Final = pa.schema(
    [
        pa.field("venue", _VENUE, nullable=False),
        pa.field("instrument", _INSTRUMENT, nullable=False),
        pa.field("ts_event", pa.int64(), nullable=False),
        pa.field("ts_recv", pa.int64()),
        pa.field("seq", pa.int64()),
        pa.field("action", pa.int8(), nullable=False),
        pa.field("side", pa.int8()),  # BUY: bids, SELL: asks; null for IMAGE and DIRTY
        pa.field("level", pa.int16()),  # from 1, where the venue counts levels
        pa.field("entry_id", pa.utf8()),  # where the venue names entries
        pa.field("price", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("orders", pa.int32()),
        pa.field("last", pa.bool_(), nullable=False),  # end of the venue's atomic change
    ]
)
"""Changes of a book, level by level: records of kind `depth` among the ticks of the same topic-partition."""

BOOK_LEVELS: Final = 10
"""Levels a side in BOOKS."""

BOOKS: Final = pa.schema(
    [
        pa.field("venue", _VENUE, nullable=False),
        pa.field("instrument", _INSTRUMENT, nullable=False),
        pa.field("ts_event", pa.int64(), nullable=False),  # of the last change; rises from snapshot to snapshot
        pa.field("ts_recv", pa.int64()),
        pa.field("seq", pa.int64()),
        pa.field("state", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),  # one of market.depth.BOOK_STATES
        pa.field("quality", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),  # one of QUALITIES, by the venue
        pa.field("mid_price", pa.int64()),  # these two: null unless NORMAL and two-sided
        pa.field("micro_price", pa.int64()),
        pa.field("imbalance", pa.int64()),  # (bids - asks) / (bids + asks) of the levels below, 1e-9
        *(
            pa.field(f"{side}_{level}_{what}", pa.int64())  # level 1 is the best; null where there are fewer
            for side in ("bid", "ask")
            for level in range(1, BOOK_LEVELS + 1)
            for what in ("price", "size")
        ),
    ]
)
"""Snapshots of order books, ten levels a side (market/book.py). A DIRTY one has no levels."""

_COMMON: Final = ("venue", "instrument", "ts_event", "ts_recv", "seq")
_BY_NAME: Final = {field.name: field for field in _TICK_COLUMNS}

TRADES: Final = pa.schema([_BY_NAME[name] for name in (*_COMMON, "trade_id", "price", "size", "side", "flags")])
QUOTES: Final = pa.schema(
    [_BY_NAME[name] for name in (*_COMMON, "bid_price", "bid_size", "ask_price", "ask_size", "flags")]
)

BARS: Final = pa.schema(
    [
        pa.field("venue", _VENUE, nullable=False),
        pa.field("instrument", _INSTRUMENT, nullable=False),
        pa.field("interval", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),  # a key of INTERVALS_NS
        pa.field("ts_open", pa.int64(), nullable=False),  # the window is [ts_open, ts_close)
        pa.field("ts_close", pa.int64(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),  # out-of-order rows applied since it was final
        pa.field("final", pa.bool_(), nullable=False),  # False: a sample of a forming bar
        pa.field("open", pa.int64(), nullable=False),
        pa.field("high", pa.int64(), nullable=False),
        pa.field("low", pa.int64(), nullable=False),
        pa.field("close", pa.int64(), nullable=False),
        pa.field("volume", pa.decimal128(38, 9), nullable=False),
        pa.field("vwap", pa.int64(), nullable=False),  # exact quotient, rounded half to even
        pa.field("trades", pa.int64(), nullable=False),
        pa.field("quality", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),  # one of QUALITIES
        pa.field("as_known_at", pa.int64(), nullable=False),  # ts_recv (else ts_event) of the row that made it
    ]
)

LATE: Final = pa.schema(
    [
        *_TICK_COLUMNS,
        pa.field("watermark", pa.int64(), nullable=False),  # what the row was judged against
        *_SOURCE,
    ]
)
"""Rows that came after `watermark - allowed_lateness`: the whole row, so that nothing is lost."""

REJECTED: Final = pa.schema(
    [
        pa.field("venue", pa.utf8()),
        pa.field("instrument", pa.utf8()),
        pa.field("ts_recv", pa.int64()),
        pa.field("reason", pa.utf8(), nullable=False),  # closed set: REJECT_REASONS
        pa.field("detail", pa.utf8(), nullable=False),  # the offending value, in words
        pa.field("raw", pa.utf8(), nullable=False),  # the row or frame as it came, cut at 4,096 characters
        *_SOURCE,
    ]
)

REJECT_REASONS: Final = (
    "size_not_positive",  # a trade of size <= 0
    "price_not_finite",  # NaN or infinite
    "off_tick",  # no multiple of the contract's tick
    "implausible_price",  # a slip of decimals or units, by the previous close
    "out_of_range",  # |price| or size >= PRICE_LIMIT, or a time outside int64 ns
    "unparseable",  # a field that is not what its column says
    "missing_field",  # a required field is absent or empty
    "unknown_instrument",  # a venue symbol that maps to no instrument key
    "unknown_trade",  # a bust or correction of a trade that did not come, or is older than the allowed lateness
    "no_effect",  # a bust of a busted trade, or a correction that is not the newest or changes nothing
    "duplicate",  # a row of a file whose trade id, or number, another row has
    "future_stamp",  # ts_event too far ahead of ts_recv (or of its neighbours)
    "malformed_frame",  # not a message of the venue's protocol
    "unsupported_message",  # a message we do not handle yet
    "unknown_version",  # a trade event of a schema version we do not read
    "conflicting_event",  # a trade event with the id of another one that says something else
)

GAPS: Final = pa.schema(
    [
        pa.field("gap_id", pa.utf8(), nullable=False),  # venue/session/channel/seq_from
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("channel", pa.utf8(), nullable=False),
        pa.field("seq_from", pa.int64(), nullable=False),  # first and last missing sequence number
        pa.field("seq_to", pa.int64(), nullable=False),
        pa.field("ts_detected", pa.int64(), nullable=False),
        pa.field("ts_resolved", pa.int64()),  # null while open
        pa.field("resolution", pa.utf8()),  # replay, snapshot, superseded, expired; null while open
        pa.field("recovered_rows", pa.int64(), nullable=False),
        pa.field("reason", pa.utf8(), nullable=False),
    ]
)
"""One row when a gap is found (`ts_resolved` null), the same `gap_id` again when it is resolved."""

STATUS: Final = pa.schema(
    [
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("instrument", pa.utf8()),  # null: the venue's session as a whole
        pa.field("ts_event", pa.int64(), nullable=False),
        pa.field("quality", pa.utf8(), nullable=False),  # one of QUALITIES
        pa.field("reason", pa.utf8(), nullable=False),
    ]
)

NEWS: Final = pa.schema(
    [
        pa.field("news_id", pa.utf8(), nullable=False),
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("ts_event", pa.int64(), nullable=False),
        pa.field("ts_recv", pa.int64()),
        pa.field("headline", pa.utf8(), nullable=False),
        pa.field("body", pa.utf8(), nullable=False),
        pa.field("topics", pa.utf8(), nullable=False),  # separated by spaces
        pa.field("instruments", pa.utf8(), nullable=False),  # instrument keys, separated by spaces
        pa.field("urgency", pa.int8(), nullable=False),  # 0 routine .. 2 flash
    ]
)

TRADE_EVENTS: Final = pa.schema(
    [
        pa.field("event_id", pa.utf8(), nullable=False),  # the backend's, unique for ever
        pa.field("event_type", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),  # one of EVENT_TYPES
        pa.field("trade_id", pa.utf8(), nullable=False),
        pa.field("user_id", pa.utf8(), nullable=False),
        pa.field("instrument", _INSTRUMENT, nullable=False),
        pa.field("side", pa.int8(), nullable=False),  # BUY, SELL: the desk's own
        pa.field("quantity", pa.int64(), nullable=False),  # lots
        pa.field("price", pa.int64(), nullable=False),
        pa.field("ts_event", pa.int64(), nullable=False),  # when it happened in the backend
        pa.field("ts_recv", pa.int64(), nullable=False),  # when we read it
        pa.field("arrival_price", pa.int64()),  # the market joined to the event: all null until it is
        pa.field("slippage", pa.int64()),
        pa.field("markout_1m", pa.int64()),
        pa.field("markout_5m", pa.int64()),
        pa.field("markout_30m", pa.int64()),
        pa.field("as_known_at", pa.int64()),  # market time up to which the five above are known; null: not at all
    ]
)
"""An event of the trading backend: what happened to one of the desk's own trades (market/trade_events.py)."""

ARBITRAGE: Final = pa.schema(
    [
        pa.field("opportunity_id", pa.utf8(), nullable=False),
        pa.field("ts_event", pa.int64(), nullable=False),  # the arrival clock: when it was known
        pa.field("commodity", pa.utf8(), nullable=False),
        pa.field("direction", pa.utf8(), nullable=False),  # buy_foreign, buy_local (market/parity.py)
        pa.field("buy_instrument", pa.utf8(), nullable=False),
        pa.field("sell_instrument", pa.utf8(), nullable=False),
        pa.field("state", pa.utf8(), nullable=False),  # one of ARBITRAGE_STATES
        pa.field("reason", pa.utf8(), nullable=False),  # why it closed or says nothing; empty otherwise
        pa.field("currency", pa.utf8(), nullable=False),  # of all amounts but net_usd
        pa.field("unit", pa.utf8(), nullable=False),  # gross, costs, net, basis and level are per unit of this
        pa.field("buy_price", pa.int64()),  # as quoted by its own venue; the average over the levels that `size` takes
        pa.field("sell_price", pa.int64()),
        pa.field("fx_price", pa.int64()),  # INR per USD
        pa.field("gross", pa.int64()),
        pa.field("cost_freight", pa.int64()),  # landing costs are negative where they are saved
        pa.field("cost_duty", pa.int64()),
        pa.field("cost_bank", pa.int64()),
        pa.field("cost_inland", pa.int64()),
        pa.field("cost_fees", pa.int64()),
        pa.field("cost_taxes", pa.int64()),
        pa.field("cost_financing", pa.int64()),
        pa.field("cost_margin", pa.int64()),
        pa.field("cost_fx_hedge", pa.int64()),
        pa.field("cost_slippage", pa.int64()),
        pa.field("net", pa.int64()),  # gross less all costs, to the last digit
        pa.field("basis", pa.int64()),  # mid in India less mid landed
        pa.field("level", pa.int64()),  # where the basis has been lately
        pa.field("size", pa.int64()),  # lots in India, executable together with `foreign_size`
        pa.field("foreign_size", pa.int64()),
        pa.field("net_inr", pa.int64()),  # of that size
        pa.field("net_usd", pa.int64()),
        pa.field("buy_age_ms", pa.int64()),  # since the quote of that leg was received
        pa.field("sell_age_ms", pa.int64()),
        pa.field("fx_age_ms", pa.int64()),
        pa.field("skew_ms", pa.int64()),  # between the venues' stamps of the two legs
        pa.field("assumed", pa.utf8(), nullable=False),  # reference rows that are not verified, separated by spaces
    ]
)
"""What a kernel of `market/arbitrage.py` says."""

ARBITRAGE_STATES: Final = ("open", "update", "close", "silent", "watch")
"""`silent`: nothing can be said, for the reason given. `watch`: a sample of a pair without an opportunity; never
stored."""

EVENT_TYPES: Final = ("created", "amended", "matched", "cancelled", "settled")

ANOMALIES: Final = pa.schema(
    [
        pa.field("anomaly_id", pa.utf8(), nullable=False),  # instrument/kind/ts_event
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("instrument", pa.utf8(), nullable=False),
        pa.field("ts_event", pa.int64(), nullable=False),  # when it began
        pa.field("ts_end", pa.int64()),  # null while it goes on
        pa.field("kind", pa.utf8(), nullable=False),  # one of market.detectors.protocol.KINDS
        pa.field("severity", pa.utf8(), nullable=False),  # low, medium, high
        pa.field("score", pa.int64(), nullable=False),  # 1e-9: how many times what is still taken for usual, at worst
        pa.field("value", pa.int64()),  # 1e-9: a price, lots or seconds, by kind
        pa.field("expected", pa.int64()),
        pa.field("witness", pa.utf8(), nullable=False),  # one of market.episodes.WITNESSES
        pa.field("detail", pa.utf8(), nullable=False),  # JSON: the evidence
        pa.field("as_known_at", pa.int64(), nullable=False),  # the arrival clock when this row was made
    ]
)
"""One row when an anomaly opens, the same `anomaly_id` again as more is known of it, and when it ends."""

FORECASTS: Final = pa.schema(
    [
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("instrument", pa.utf8(), nullable=False),
        pa.field("model", pa.utf8(), nullable=False),  # what is served: ensemble, or naive while nothing earned more
        pa.field("ts_made", pa.int64(), nullable=False),  # the end of the bar it was made at
        pa.field("horizon_s", pa.int64(), nullable=False),  # trading time: sessions alone count
        pa.field("level", pa.int64(), nullable=False),  # 1e-9: of the interval, 0.9 or 0.8
        pa.field("ts_target", pa.int64(), nullable=False),
        pa.field("price", pa.int64(), nullable=False),  # the close it was made at
        pa.field("mean", pa.int64()),  # these four: null where nothing can be said, for the reason given
        pa.field("lo", pa.int64()),
        pa.field("hi", pa.int64()),
        pa.field("crash_probability", pa.int64()),  # 1e-9: of a fall of more than two deviations within the horizon
        pa.field("reason", pa.utf8(), nullable=False),  # why naive is served, or nothing; empty otherwise
        pa.field("skill", pa.int64()),  # 1e-9: 1 - error / naive's of late, of the ensemble at this horizon
        pa.field("coverage", pa.int64()),  # 1e-9: how many of the intervals of late held what came
        pa.field("scored", pa.int64(), nullable=False),  # how many forecasts these two are of
        pa.field("as_known_at", pa.int64(), nullable=False),  # that of the bar
    ]
)
"""What is served of one instrument at the end of a bar: a row a horizon and level (market/forecasts.py)."""

FORECAST_SCORES: Final = pa.schema(
    [
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("instrument", pa.utf8(), nullable=False),
        pa.field("model", pa.utf8(), nullable=False),  # a member, or ensemble
        pa.field("horizon_s", pa.int64(), nullable=False),
        pa.field("ts_made", pa.int64(), nullable=False),
        pa.field("ts_target", pa.int64(), nullable=False),
        pa.field("mean", pa.int64(), nullable=False),
        pa.field("actual", pa.int64(), nullable=False),
        pa.field("abs_error", pa.int64(), nullable=False),
        pa.field("naive_abs_error", pa.int64(), nullable=False),
        pa.field("covered", pa.bool_()),  # by the interval at 90 %; null: this model has none
        pa.field("covered_80", pa.bool_()),
        pa.field("crash", pa.bool_(), nullable=False),  # whether the fall came
        pa.field("crash_probability", pa.int64()),  # 1e-9; null but for the ensemble's
        pa.field("crash_base", pa.int64()),  # 1e-9: how frequent falls had been
        pa.field("served", pa.bool_(), nullable=False),
        pa.field("as_known_at", pa.int64(), nullable=False),
    ]
)
"""What became of a forecast of one model, once its target has passed."""

FORECAST_STEPS: Final = pa.schema(
    [
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("instrument", pa.utf8(), nullable=False),
        pa.field("ts_close", pa.int64(), nullable=False),  # of the bar, or of the last one a fit was made of
        pa.field("close", pa.int64()),
        pa.field("width", pa.int64()),  # high less low
        pa.field("volume", pa.int64()),
        pa.field("quality", pa.utf8()),
        pa.field("as_known_at", pa.int64()),
        pa.field("mid_price", pa.int64()),  # these four: of the newest book; null without one that is whole
        pa.field("micro_price", pa.int64()),
        pa.field("imbalance", pa.int64()),
        pa.field("spread", pa.int64()),
        pa.field("fit", pa.utf8()),  # JSON: a fitted model and its parameters; then there is no bar
    ]
)
"""What forecasts are made from, in the order in which it is taken: final bars with the book as it was, and fits."""

FIT_REQUESTS: Final = pa.schema(
    [
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("instrument", pa.utf8(), nullable=False),
        pa.field("ts_close", pa.int64(), nullable=False),  # of the last bar
        pa.field("closes", pa.list_(pa.int64()), nullable=False),  # of the last bars, oldest first
    ]
)
"""A wish of the forecasts for models to be fitted on these closes; answered by FORECAST_STEPS with a `fit`."""

SCHEMAS: Final = {
    "ticks": TICKS,
    "fx": TICKS,
    "depth": DEPTH,
    "news": NEWS,
    "trades": TRADES,
    "quotes": QUOTES,
    "bars": BARS,
    "books": BOOKS,
    "late": LATE,
    "rejected": REJECTED,
    "gaps": GAPS,
    "status": STATUS,
    "trade_events": TRADE_EVENTS,
    "arbitrage": ARBITRAGE,
    "anomalies": ANOMALIES,
    "forecasts": FORECASTS,
    "forecast_scores": FORECAST_SCORES,
    "forecast_steps": FORECAST_STEPS,
    "fit_requests": FIT_REQUESTS,
}

NATURAL_KEYS: Final = {
    "trades": ("instrument", "ts_event", "seq", "trade_id"),
    "quotes": ("instrument", "ts_event", "seq"),
    "bars": ("instrument", "interval", "ts_open", "revision"),
    "books": ("instrument", "ts_event"),
    "late": ("source", "source_offset", "source_row"),
    "rejected": ("source", "source_offset", "source_row"),
    "gaps": ("gap_id",),
    "status": ("venue", "instrument", "ts_event", "quality", "reason"),
    "trade_events": ("event_id",),
    "news": ("news_id",),
    "arbitrage": ("opportunity_id", "ts_event"),
    "anomalies": ("anomaly_id",),
    "forecasts": ("instrument", "model", "ts_made", "horizon_s", "level"),
    "forecast_scores": ("instrument", "model", "horizon_s", "ts_made"),
}
"""What makes a stored row the same row: writing it again changes nothing."""


def require(name: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return `batch` if it has the columns and types of `SCHEMAS[name]`, in order; raise SchemaMismatch."""
    expected = SCHEMAS[name]
    if not batch.schema.equals(expected):
        raise SchemaMismatch(name, expected, batch.schema)
    return batch
