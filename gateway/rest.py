"""History from the store, as JSON text the database builds itself. REST parameters are parsed here, purely.

The store keeps, beside each time column, an exact bigint `<column>_ns`, and prices as numeric, so `to_json` of
them is exact; the loop only passes text on. Queries are constant text with parameters; newest rows come first
out of the index and are turned round. The range is half-open: [from, to).
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import psycopg

from gateway.errors import HttpError, StoreDown
from gateway.protocol import MAX_ID_CHARS
from market.schemas import BOOKS, INTERVALS_NS

DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 10_000
CONNECTIONS: Final = 4
STATEMENT_TIMEOUT_MS: Final = 5_000
CONNECT_TIMEOUT_S: Final = 3

_NS: Final = re.compile(r"-?\d{1,19}", re.ASCII)
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_MIN: Final = -(2**63)
_NS_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A checked request for rows. `from_ns` and `to_ns` bound the table's time column."""

    instrument: str
    interval: str = ""
    from_ns: int = _NS_MIN
    to_ns: int = _NS_MAX
    limit: int = DEFAULT_LIMIT
    revisions: bool = False


def parse_query(table: str, parameters: Mapping[str, str]) -> Query:
    """Return the query of a request's parameters.

    Raises: HttpError 400 with code bad_request, naming the parameter.
    """
    unknown = set(parameters) - _PARAMETERS[table]
    if unknown:
        raise _bad(f"{table} has no parameter {min(unknown)[:40]!r}")
    instrument = parameters.get("instrument", "*" if table in _OF_ALL else "")
    if not instrument or len(instrument) > MAX_ID_CHARS:
        raise _bad("instrument is required: a key such as XCEC:GC:202612")
    revisions = parameters.get("revisions", "")
    if revisions not in ("", "all", "newest"):
        raise _bad("revisions is all or newest")
    return Query(
        instrument=instrument,
        interval=_interval(table, parameters.get("interval", "")),
        from_ns=_time("from", parameters.get("from", ""), _NS_MIN),
        to_ns=_time("to", parameters.get("to", ""), _NS_MAX),
        limit=_limit(parameters.get("limit", "")),
        revisions=revisions == "all",
    )


def _bad(text: str) -> HttpError:
    return HttpError(400, "bad_request", text)


def _interval(table: str, value: str) -> str:
    if table != "bars" or value in INTERVALS_NS:
        return value
    raise _bad(f"interval is one of {', '.join(INTERVALS_NS)}")


def _limit(value: str) -> int:
    if not value:
        return DEFAULT_LIMIT
    if re.fullmatch(r"\d{1,9}", value, re.ASCII) is None or not 1 <= int(value) <= MAX_LIMIT:
        raise _bad(f"limit is an integer from 1 to {MAX_LIMIT}")
    return int(value)


def _time(name: str, value: str, default: int) -> int:
    if not value:
        return default
    time_ns = parse_time(value)
    if time_ns is None or not _NS_MIN <= time_ns <= _NS_MAX:
        raise _bad(f"{name} is ns since 1970 or ISO 8601, such as 2026-11-20T14:30:00Z")
    return time_ns


def parse_time(text: str) -> int | None:
    """Return ns UTC of a decimal string of ns or an ISO 8601 time (UTC without an offset), else None.

    Example:
        >>> parse_time("1970-01-01T00:00:01.000000001Z"), parse_time("42"), parse_time("tomorrow")
        (1000000001, 42, None)
    """
    if _NS.fullmatch(text):
        return int(text)
    # A + that was not percent-encoded arrives as a space.
    found = _ISO.fullmatch(re.sub(r" (?=\d\d:?\d\d$)(?<=:\d\d )", "+", text))
    if found is None:
        return None
    seconds, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(seconds + ("+00:00" if zone in (None, "Z") else zone))
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "").ljust(9, "0"))


_TIMES: Final = (
    {"bars": "ts_open"}
    | dict.fromkeys(("trades", "quotes", "books", "status", "news", "anomalies", "arbitrage"), "ts_event")
    | dict.fromkeys(("forecasts", "forecast_scores", "forecast_scoreboard"), "ts_made")
)
_RANGE: Final = frozenset({"instrument", "from", "to", "limit"})
_PARAMETERS: Final = {
    "bars": _RANGE | {"interval", "revisions"},
    "trades": _RANGE,
    "quotes": _RANGE,
    "books": _RANGE,
    "status": _RANGE,
    "news": _RANGE,
    "arbitrage": _RANGE,
    "anomalies": _RANGE,
    "forecasts": _RANGE,
    "forecast_scores": _RANGE,
    "forecast_scoreboard": _RANGE,
}
_OF_ALL: Final = (
    "news",
    "anomalies",
    "arbitrage",
    "forecasts",
    "forecast_scores",
    "forecast_scoreboard",
)  # an instrument only narrows them

# JSON members of each table: times as text of the exact companion, numerics without padding zeros.
_TICK_START: Final = (
    "'instrument', instrument, 'ts_event', ts_event_ns::text, 'seq', seq, 'venue', venue, 'ts_recv', ts_recv_ns::text"
)
_BOOK_NUMBERS: Final = ", ".join(
    f"'{name}', trim_scale({name})" for name in BOOKS.names[BOOKS.names.index("mid_price") :]
)
_MADE: Final = (
    "'venue', venue, 'instrument', instrument, 'model', model, 'ts_made', ts_made_ns::text, "
    "'horizon_s', horizon_s, 'ts_target', ts_target_ns::text"
)
_JSON: Final = {
    "books": "'venue', venue, 'instrument', instrument, 'ts_event', ts_event_ns::text, 'ts_recv', ts_recv_ns::text, "
    f"'seq', seq, 'state', state, 'quality', quality, {_BOOK_NUMBERS}",
    "trades": f"{_TICK_START}, 'trade_id', nullif(trade_id, ''), 'price', trim_scale(price), 'size', trim_scale(size), "
    "'side', CASE side WHEN 1 THEN 'buy' WHEN -1 THEN 'sell' END, 'flags', flags",
    "quotes": f"{_TICK_START}, 'bid_price', trim_scale(bid_price), 'bid_size', trim_scale(bid_size), "
    "'ask_price', trim_scale(ask_price), 'ask_size', trim_scale(ask_size), 'flags', flags",
    "bars": "'instrument', instrument, 'interval', \"interval\", 'ts_open', ts_open_ns::text, "
    "'ts_close', ts_close_ns::text, 'revision', revision, 'final', final, 'venue', venue, "
    "'open', trim_scale(open), 'high', trim_scale(high), 'low', trim_scale(low), 'close', trim_scale(close), "
    "'volume', trim_scale(volume), 'vwap', trim_scale(vwap), 'trades', trades, 'quality', quality, "
    "'as_known_at', as_known_at_ns::text",
    "status": "'kind', 'status', 'venue', venue, 'instrument', nullif(instrument, ''), 'ts_event', ts_event_ns::text, "
    "'quality', quality, 'reason', reason",
    "anomalies": "'anomaly_id', anomaly_id, 'venue', venue, 'instrument', instrument, 'ts_event', ts_event_ns::text, "
    "'ts_end', ts_end_ns::text, 'kind', kind, 'severity', severity, 'score', trim_scale(score), "
    "'value', trim_scale(value), 'expected', trim_scale(expected), 'witness', witness, 'detail', detail::json, "
    "'as_known_at', as_known_at_ns::text",
    "forecasts": f"{_MADE}, 'level', trim_scale(level), 'price', trim_scale(price), "
    "'mean', trim_scale(mean), 'lo', trim_scale(lo), 'hi', trim_scale(hi), "
    "'crash_probability', trim_scale(crash_probability), 'reason', reason, 'skill', trim_scale(skill), "
    "'coverage', trim_scale(coverage), 'scored', scored, 'as_known_at', as_known_at_ns::text",
    "forecast_scores": f"{_MADE}, 'mean', trim_scale(mean), 'actual', trim_scale(actual), "
    "'abs_error', trim_scale(abs_error), 'naive_abs_error', trim_scale(naive_abs_error), "
    "'covered', covered, 'covered_80', covered_80, 'crash', crash, "
    "'crash_probability', trim_scale(crash_probability), 'crash_base', trim_scale(crash_base), "
    "'served', served, 'as_known_at', as_known_at_ns::text",
    "forecast_scoreboard": "'venue', venue, 'instrument', instrument, 'model', model, 'horizon_s', horizon_s, "
    "'ts_made', ts_made_ns::text, 'scored', scored, 'abs_error', trim_scale(abs_error), 'skill', trim_scale(skill), "
    "'coverage', trim_scale(coverage), 'coverage_80', trim_scale(coverage_80), "
    "'crash_skill', trim_scale(crash_skill), 'served', trim_scale(served)",
    "news": "'news_id', news_id, 'venue', venue, 'ts_event', ts_event_ns::text, 'ts_recv', ts_recv_ns::text, "
    "'headline', headline, 'body', body, 'topics', array_remove(string_to_array(topics, ' '), ''), "
    "'instruments', array_remove(string_to_array(instruments, ' '), ''), 'urgency', urgency",
    "arbitrage": "'opportunity_id', opportunity_id, 'ts_event', ts_event_ns::text, 'commodity', commodity, "
    "'direction', direction, 'buy_instrument', buy_instrument, 'sell_instrument', sell_instrument, "
    "'state', state, 'reason', reason, 'currency', currency, 'unit', unit, "
    "'buy_price', trim_scale(buy_price), 'sell_price', trim_scale(sell_price), "
    "'fx_price', trim_scale(fx_price), 'gross', trim_scale(gross), "
    "'cost_freight', trim_scale(cost_freight), 'cost_duty', trim_scale(cost_duty), "
    "'cost_bank', trim_scale(cost_bank), 'cost_inland', trim_scale(cost_inland), "
    "'cost_fees', trim_scale(cost_fees), 'cost_taxes', trim_scale(cost_taxes), "
    "'cost_financing', trim_scale(cost_financing), 'cost_margin', trim_scale(cost_margin), "
    "'cost_fx_hedge', trim_scale(cost_fx_hedge), 'cost_slippage', trim_scale(cost_slippage), "
    "'net', trim_scale(net), 'basis', trim_scale(basis), 'level', trim_scale(level), "
    "'size', trim_scale(size), 'foreign_size', trim_scale(foreign_size), 'net_inr', trim_scale(net_inr), "
    "'net_usd', trim_scale(net_usd), 'buy_age_ms', buy_age_ms, 'sell_age_ms', sell_age_ms, "
    "'fx_age_ms', fx_age_ms, 'skew_ms', skew_ms, "
    "'assumed', array_remove(string_to_array(assumed, ' '), '')",
}
_ANY_OR_ONE: Final = "(%(instrument)s = '*' OR instrument = %(instrument)s)"
_KEY: Final = {
    "trades": "instrument = %(instrument)s",
    "quotes": "instrument = %(instrument)s",
    "books": "instrument = %(instrument)s",
    "bars": 'instrument = %(instrument)s AND "interval" = %(interval)s',
    # The store has '' where a status concerns the whole venue, which the stream calls XCEC:*.
    "status": "(instrument = %(instrument)s OR (instrument = '' AND venue || ':*' = %(instrument)s))",
    **dict.fromkeys(("anomalies", "forecasts", "forecast_scores", "forecast_scoreboard"), _ANY_OR_ONE),
    # Headlines that name an instrument; * stands for all.
    "news": "(%(instrument)s = '*' OR %(instrument)s = ANY (string_to_array(instruments, ' ')))",
    # Of either leg, or of a commodity.
    "arbitrage": "(%(instrument)s IN ('*', buy_instrument, sell_instrument, commodity))",
}
# Without the trades that were busted, the others with their newest terms: what the bars are made of.
_VIEWS: Final = {"trades": "trades_net"}
_TIE: Final = {
    "trades": "seq",
    "quotes": "seq",
    "books": "instrument",  # a book has one snapshot at a time
    "bars": "revision",
    "status": "venue",
    "news": "news_id",
    "arbitrage": "opportunity_id",
    "anomalies": "anomaly_id",
    "forecasts": "(instrument, horizon_s, -level)",
    "forecast_scores": "(instrument, horizon_s, model)",
    "forecast_scoreboard": "(instrument, horizon_s, model)",
}


# Whose venue is not a column: an opportunity is of both its legs' venues.
_GRANTED: Final = {
    "arbitrage": "(split_part(buy_instrument, ':', 1) = ANY (%(venues)s) "
    "AND split_part(sell_instrument, ':', 1) = ANY (%(venues)s))"
}


def _sql(table: str, distinct: str = "") -> str:
    time, tie = _TIMES[table], _TIE[table]
    # The timestamptz bounds (1 ms wide of the mark, it is rounded) let the planner skip partitions.
    return (
        f"SELECT coalesce(json_agg(line ORDER BY t, tie), '[]')::text FROM ("
        f"SELECT {distinct} json_build_object({_JSON[table]}) AS line, {time}_ns AS t, {tie} AS tie "
        f"FROM market.{_VIEWS.get(table, table)} WHERE {_KEY[table]} "
        f"AND (%(venues)s::text[] IS NULL OR {_GRANTED.get(table, 'venue = ANY (%(venues)s)')}) "
        f"AND {time} >= %(from)s AND {time} < %(to)s "
        f"AND {time}_ns >= %(from_ns)s AND {time}_ns < %(to_ns)s "
        f"ORDER BY {time} DESC, {time}_ns DESC, {tie} DESC LIMIT %(limit)s) newest"
    )


_SQL: Final = {
    **{(table, False): _sql(table) for table in _TIMES if table != "bars"},
    # The rule of the view bars_latest, turned round: walking the key backwards, LIMIT ends it early.
    ("bars", False): _sql("bars", "DISTINCT ON (ts_open, ts_open_ns)"),
    ("bars", True): _sql("bars"),
}


def _bound(time_ns: int, slack_us: int) -> str:
    # PostgreSQL's own infinities stand for "not bounded"; the years of int64 ns all exist in datetime.
    if time_ns in (_NS_MIN, _NS_MAX):
        return "-infinity" if time_ns < 0 else "infinity"
    return (_EPOCH + timedelta(microseconds=time_ns // 1000 + slack_us)).isoformat()


_Connection: TypeAlias = psycopg.AsyncConnection[tuple[str]]


class Store:
    """Reads the history store. Connections are made when first needed and again after they broke.

    Raises: StoreDown from every read while the store is not configured, not reachable or too slow.
    """

    def __init__(self, dsn: str | Callable[[], str] | None) -> None:
        self._dsn = dsn
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def rows(self, table: str, query: Query, venues: frozenset[str] | None = None) -> bytes:
        """Return the newest `limit` rows in range of `venues` (None: of all), oldest first, as a JSON list.

        Raises: StoreDown.
        """
        parameters = {
            "instrument": query.instrument,
            "interval": query.interval,
            "from": _bound(query.from_ns, -1000),
            "to": _bound(query.to_ns, 1000),
            "from_ns": query.from_ns,
            "to_ns": query.to_ns,
            "limit": query.limit,
            "venues": None if venues is None else sorted(venues),
        }
        return await self._read(_SQL[table, query.revisions], parameters)

    async def check(self) -> None:
        """Return if the store answers.

        Raises: StoreDown.
        """
        await self._read("SELECT '1'", {})

    async def close(self) -> None:
        for connection in self._idle:
            await connection.close()
        self._idle.clear()

    async def _read(self, sql: str, parameters: Mapping[str, object]) -> bytes:
        if self._dsn is None:
            raise StoreDown("this gateway has no history store")
        async with self._slots:
            try:
                return await self._read_from(self._dsn, sql, parameters)
            except psycopg.Error as error:
                raise StoreDown(f"the history store does not answer: {_reason(error)}") from error

    async def _read_from(self, dsn: str | Callable[[], str], sql: str, parameters: Mapping[str, object]) -> bytes:
        # A restart of the server leaves dead connections behind; only a fresh one tells whether it is down.
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._ask(connection, sql, parameters)
            except psycopg.OperationalError:
                if not connection.broken:
                    raise
        return await self._ask(await self._connect(dsn), sql, parameters)

    async def _ask(self, connection: _Connection, sql: str, parameters: Mapping[str, object]) -> bytes:
        healthy = False
        try:
            cursor = await connection.execute(sql, parameters)
            row = await cursor.fetchone()
            healthy = True
        finally:
            if healthy:
                self._idle.append(connection)
            else:  # it failed, or the request was cancelled in the middle
                await connection.close()
        return b"[]" if row is None else row[0].encode()

    async def _connect(self, dsn: str | Callable[[], str]) -> _Connection:
        return await psycopg.AsyncConnection.connect(
            dsn if isinstance(dsn, str) else dsn(),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on -c TimeZone=UTC",
            application_name="mandi-gateway",
        )


def _reason(error: psycopg.Error) -> str:
    # Never the message: a failed connection's may quote the connection string.
    return type(error).__name__ if error.sqlstate is None else f"{type(error).__name__} ({error.sqlstate})"
