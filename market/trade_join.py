"""Join the market to each event of the trading backend, as of the event's own time.

For an event at T, with the mid price of its instrument as of a time:

* `arrival_price`: the mid as of T; `slippage` = side x (price - arrival_price): what it cost, above 0 is worse
* `markout_1m, _5m, _30m` = side x (mid as of T + 1, 5, 30 minutes - price): what it brought, above 0 is better

The mid as of a time is that of the last accepted quote with `ts_event` up to it; of one time, the last to arrive. There
is none (null) before the first quote, while a side is missing or the book is crossed, and while the venue says that the
instrument, or all of it, is in another state than LIVE. All types of events are joined alike, each by its own price:
what is sums of trades picks `event_type = 'matched'`; of a cancelled order it is what it would have been.

An event goes out at once, then again with each of the four prices when its time has come: when the watermark of its
venue has passed it, so a quote that comes in time is in it. A quote that comes later, within the allowed lateness,
revises what it changes in another version of the event. `as_known_at` rises with every version.

The output does not depend on how events and ticks fall between each other, unless an event comes when the watermark is
further past a time than the allowed lateness: what was in force then is forgotten, and stays null.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from market.columns import codes, dictionary, valid, values
from market.kernel import ARRIVALS, Outputs
from market.mids import NO_MID, Mids
from market.schemas import PRICE_LIMIT, QUOTE, STATE
from market.trade_events import event_batch
from market.watermark import ACCEPTED, Judged, Lateness, Watermarks

EVENT: Final = 6  # beside the kinds of TICKS: an event of the backend, `size` its quantity

JOIN_ARRIVALS: Final = pa.schema(
    [
        *ARRIVALS,
        pa.field("event_id", pa.utf8()),  # these three: of an EVENT, null otherwise
        pa.field("event_type", pa.utf8()),
        pa.field("user_id", pa.utf8()),
    ]
)
"""What the kernel is fed: the ticks of a shard, and the backend's events of its instruments among them."""

MINUTE_NS: Final = 60 * 10**9
AFTER_NS: Final = (0, MINUTE_NS, 5 * MINUTE_NS, 30 * MINUTE_NS)
"""When the market is looked at, after the event."""

MARKOUTS: Final = ("markout_1m", "markout_5m", "markout_30m")

MAX_OPEN: Final = 50_000
"""Events a shard waits with; of more, the oldest is given up. 30 minutes at 25 a second, about 50 MB."""

_NULLS: Final = (pa.utf8(), pa.utf8(), pa.utf8())


def of_ticks(arrivals: pa.RecordBatch) -> pa.RecordBatch:
    """Ticks as the kernel takes them. Shape: ARRIVALS -> JOIN_ARRIVALS, the same rows."""
    nulls = [pa.nulls(arrivals.num_rows, kind) for kind in _NULLS]
    return pa.RecordBatch.from_arrays([*arrivals.columns, *nulls], schema=JOIN_ARRIVALS)


def of_events(events: pa.RecordBatch, source: str, offsets: pa.Array) -> pa.RecordBatch:
    """Events as the kernel takes them. Shape: TRADE_EVENTS -> JOIN_ARRIVALS, the same rows."""
    instrument, count = events.column("instrument"), events.num_rows
    venues = pa.array([name.partition(":")[0] for name in instrument.to_pylist()], pa.utf8()).dictionary_encode()
    known = {
        "kind": pa.repeat(pa.scalar(EVENT, pa.int8()), count),
        "venue": pa.DictionaryArray.from_arrays(venues.indices.cast(pa.int8()), venues.dictionary),
        **{name: events.column(name) for name in ("instrument", "ts_event", "ts_recv", "price", "side", "trade_id")},
        "size": events.column("quantity"),
        "flags": pa.repeat(pa.scalar(0, pa.int32()), count),
        "source": pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), count), [source]),
        "source_offset": offsets,
        "source_row": pa.repeat(pa.scalar(0, pa.int64()), count),
        "event_id": events.column("event_id"),
        "event_type": events.column("event_type").cast(pa.utf8()),
        "user_id": events.column("user_id"),
    }
    columns = [known.get(field.name, pa.nulls(count, field.type)) for field in JOIN_ARRIVALS]
    return pa.RecordBatch.from_arrays(columns, schema=JOIN_ARRIVALS)


@dataclass(slots=True)
class _Open:
    """An event whose prices are still to come, or may still be revised."""

    row: dict[str, Any]  # its own columns
    mids: list[int | None]  # as of the times that have come
    known_at: int | None = None

    def due(self, which: int) -> int:
        return int(self.row["ts_event"]) + AFTER_NS[which]

    def is_complete(self) -> bool:
        return len(self.mids) == len(AFTER_NS)

    def joined(self) -> dict[str, Any]:
        side, price = self.row["side"], self.row["price"]
        arrival = self.mids[0] if self.mids else None
        found = {"arrival_price": arrival, "as_known_at": self.known_at}
        found["slippage"] = None if arrival is None else _within(side * (price - arrival))
        for name, mid in zip(MARKOUTS, self.mids[1:], strict=False):
            found[name] = None if mid is None else _within(side * (mid - price))
        return self.row | found


@dataclass(slots=True)
class TradeJoinKernel:
    """Fold ticks and events into events with the market joined to them.

    Shape: JOIN_ARRIVALS -> trade_events(event_id, as_known_at), up to five versions an event, and its revisions.
    State: of each instrument the mids of the allowed lateness (16 bytes a quote); of each event of the last half hour
        about 1 kB, MAX_OPEN at most.
    """

    lateness: Lateness = field(default_factory=Lateness)
    max_open: int = MAX_OPEN
    told: Callable[[str], None] = lambda _: None
    """Called for each price that was due, with what became of it: joined, unknown, revised, given_up."""
    _marks: Watermarks = field(init=False)
    _mids: dict[str, Mids] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)  # mid of the newest quote by instrument, whatever the state
    _states: dict[str, int] = field(default_factory=dict)  # by instrument, and by venue
    _open: dict[str, dict[int, _Open]] = field(default_factory=dict)  # by instrument and number, rising
    _due: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)  # by venue: heap of time, event
    _pending: dict[int, str] = field(default_factory=dict)  # events that wait, oldest first: their instrument
    _number: int = 0
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._marks = Watermarks(self.lateness)

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        start = 0
        for at in np.flatnonzero(values(arrivals.column("kind")) == EVENT).tolist():
            self._judge(arrivals.slice(start, at - start))
            self._enter(arrivals.slice(at, 1).to_pylist()[0])
            start = at + 1
        self._judge(arrivals.slice(start))
        self._forget()
        return self._flush()

    def on_time(self, now_ns: int) -> Outputs:  # noqa: ARG002
        return {}

    def on_eof(self) -> Outputs:
        settled = self._marks.finish()
        if settled is not None:
            self._fold(settled)
        return self._flush()

    def next_wake_ns(self) -> int | None:
        return None

    def on_history_lost(self) -> None:
        pass  # before the first quote there is no price

    def waiting(self) -> int:
        """How many events wait for a price."""
        return len(self._pending)

    def snapshot(self) -> object:
        return {
            "marks": self._marks.snapshot(),
            "mids": {name: mids.copy() for name, mids in self._mids.items()},
            "last": dict(self._last),
            "states": dict(self._states),
            "open": {name: [_bare(n, each) for n, each in found.items()] for name, found in self._open.items()},
            "due": {venue: list(heap) for venue, heap in self._due.items()},
            "pending": dict(self._pending),
            "number": self._number,
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self._marks.restore(saved["marks"])
        self._mids = {name: mids.copy() for name, mids in saved["mids"].items()}
        self._last, self._states, self._number = dict(saved["last"]), dict(saved["states"]), saved["number"]
        self._open = {
            name: {number: _Open(dict(row), list(mids), known_at) for number, row, mids, known_at in found}
            for name, found in saved["open"].items()
        }
        self._due = {venue: list(heap) for venue, heap in saved["due"].items()}
        self._pending = dict(saved["pending"])

    # Ticks

    def _judge(self, ticks: pa.RecordBatch) -> None:
        if ticks.num_rows:
            self._fold(self._marks.judge(ticks))

    def _fold(self, judged: Judged) -> None:
        rows = judged.rows
        venues, names = dictionary(rows.column("venue")), dictionary(rows.column("instrument"))
        columns = (
            values(rows.column("kind")),
            codes(rows.column("venue")),
            np.where(_known(rows.column("instrument")), codes(rows.column("instrument")), -1),
            judged.verdict,
            judged.watermark,
            judged.after,
            judged.known_at,
            values(rows.column("ts_event")),
            _mids_of(rows),
            values(rows.column("size")),
        )
        for kind, at, of, verdict, before, after, known_at, ts, mid, size in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            venue = venues[at]
            if after > before:
                self._fire(venue, after)
            if kind == QUOTE and verdict == ACCEPTED:
                self._quote(venue, names[of], ts, mid, before, known_at)
            elif kind == STATE:
                self._say(venue, None if of < 0 else names[of], size, before)

    def _quote(self, venue: str, name: str, ts: int, mid: int, before: int, known_at: int) -> None:
        mids = self._mids.setdefault(name, Mids())
        if mids.put(ts, mid if self._is_live(venue, name) else NO_MID):
            self._last[name] = mid
        if ts < before:
            self._revise(name, mids, ts, known_at)

    def _say(self, venue: str, name: str | None, state: int, watermark: int) -> None:
        # The order of rows is the order of effect, and what has been said up to the watermark is said.
        self._states[venue if name is None else name] = state
        for each in list(self._mids) if name is None else [name]:
            if each in self._mids and each.partition(":")[0] == venue:
                mids = self._mids[each]
                mid = self._last.get(each, NO_MID) if self._is_live(venue, each) else NO_MID
                mids.put(max(mids.newest_ts(), watermark), mid)

    def _is_live(self, venue: str, name: str) -> bool:
        return not self._states.get(venue) and not self._states.get(name)

    # Events

    def _enter(self, row: dict[str, Any]) -> None:
        venue, instrument = row["venue"], row["instrument"]
        event = {name: row[name] for name in _OWN} | {"quantity": row["size"]}
        self._number += 1
        opened = _Open(event, [])
        self._open.setdefault(instrument, {})[self._number] = opened
        self._rows.append(opened.joined())
        watermark = self._marks.watermark(venue)
        oldest = watermark - self.lateness.allowed_ns
        while not opened.is_complete() and opened.due(len(opened.mids)) < oldest:
            self._come(opened, None)  # what was in force then is forgotten
        self._await(venue, self._number, opened)
        self._fire(venue, watermark)
        if len(self._pending) > self.max_open:
            number, name = next(iter(self._pending.items()))
            del self._pending[number], self._open[name][number]
            self.told("given_up")

    def _await(self, venue: str, number: int, opened: _Open) -> None:
        if opened.is_complete():
            self._pending.pop(number, None)
            return
        instrument = self._pending[number] = opened.row["instrument"]
        heapq.heappush(self._due.setdefault(venue, []), (opened.due(len(opened.mids)), number, instrument))

    def _fire(self, venue: str, watermark: int) -> None:
        """Look at the market for all whose time the watermark has passed."""
        heap = self._due.get(venue)
        while heap and heap[0][0] < watermark:
            due, number, instrument = heapq.heappop(heap)
            opened = self._open[instrument].get(number)
            if opened is None:  # given up
                continue
            mids = self._mids.get(instrument)
            self._come(opened, None if mids is None else mids.at(due))
            self._await(venue, number, opened)

    def _come(self, opened: _Open, mid: int | None) -> None:
        at = opened.due(len(opened.mids)) + self.lateness.delay_ns
        opened.mids.append(mid)
        self._publish(opened, max(at, opened.row["ts_recv"]), "unknown" if mid is None else "joined")

    def _revise(self, name: str, mids: Mids, ts: int, known_at: int) -> None:
        """A quote came after its time was passed: say again what it changes."""
        for opened in self._open.get(name, {}).values():
            found = [
                mids.at(opened.due(which)) if opened.due(which) >= ts else mid for which, mid in enumerate(opened.mids)
            ]
            if found != opened.mids:
                opened.mids = found
                self._publish(opened, known_at, "revised")

    def _publish(self, opened: _Open, known_at: int, what: str) -> None:
        opened.known_at = known_at if opened.known_at is None else max(known_at, opened.known_at + 1)
        self._rows.append(opened.joined())
        self.told(what)

    def _forget(self) -> None:
        """Drop what no row can ask for any more: none is older than the allowed lateness."""
        for name, mids in self._mids.items():
            mids.forget(self._oldest(name))
        for name, opened in self._open.items():
            oldest = self._oldest(name)
            for number in [n for n, each in opened.items() if each.is_complete() and each.due(-1) < oldest]:
                del opened[number]

    def _oldest(self, name: str) -> int:
        return self._marks.watermark(name.partition(":")[0]) - self.lateness.allowed_ns

    def _flush(self) -> Outputs:
        rows, self._rows = self._rows, []
        return {"trade_events": event_batch(rows)} if rows else {}


_OWN: Final = ("event_id", "event_type", "trade_id", "user_id", "instrument", "side", "price", "ts_event", "ts_recv")


def _bare(number: int, opened: _Open) -> tuple[int, dict[str, Any], list[int | None], int | None]:
    return number, dict(opened.row), list(opened.mids), opened.known_at


def _known(column: pa.Array) -> Any:
    mask = valid(column)
    return True if mask is None else mask


def _mids_of(rows: pa.RecordBatch) -> Any:
    bid, ask = rows.column("bid_price"), rows.column("ask_price")
    is_price = _known(bid) & _known(ask) & (values(bid) <= values(ask))
    return np.where(is_price, (values(bid) + values(ask)) // 2, NO_MID)


def _within(amount: int) -> int | None:
    # Two prices of the range may be further apart than the range of a price: no store holds that.
    return amount if abs(amount) < PRICE_LIMIT else None
