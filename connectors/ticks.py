"""Builders of the rows a feed puts into the log, and the rules by which a value may become one.

Rows go in one by one as plain ints, batches come out. A builder has no lock: the feed that owns it holds one over
a whole frame, so that rows and the session's positions change together. Under that lock `detach` is a swap of
lists, O(1) in rows; the costly part, `DetachedRows.payload` and `row_batch`, runs on what was detached, without it.

Units: prices and sizes int64 multiples of 1e-9, `ts_*` ns UTC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from connectors.errors import ValueRefused
from market.instruments import BadPrice, to_fixed
from market.packed import pack
from market.records import Payload
from market.schemas import (
    BUST,
    CLOCK,
    CORRECTION,
    PRICE_LIMIT,
    PRICE_SCALE,
    QUALITIES,
    QUOTE,
    SCHEMAS,
    STATE,
    TRADE,
)

RAW_CHARACTERS: Final = 4_096
"""REJECTED.raw is cut here (market/schemas.py)."""

_NUMBER_CHARACTERS: Final = 64  # longer than any price; keeps hostile digits away from Decimal
_NOT_FINITE: Final = frozenset(sign + word for sign in ("", "+", "-") for word in ("nan", "snan", "inf", "infinity"))

Row = tuple[Any, ...]


def parse_price(text: object) -> int:
    """Return a decimal string as an exact int64 multiple of 1e-9.

    Raises: ValueRefused with reason `unparseable`, `price_not_finite` or `out_of_range`.

    Example:
        >>> parse_price("80.15")
        80150000000
    """
    if not isinstance(text, str) or len(text) > _NUMBER_CHARACTERS:
        raise ValueRefused("unparseable", f"price {str(text)[:80]!r} is not a decimal string")
    if text.lower() in _NOT_FINITE:
        raise ValueRefused("price_not_finite", f"price {text!r}")
    try:
        return to_fixed(text)
    except BadPrice as bad:
        raise ValueRefused(_price_reason(text), str(bad)) from bad


def _price_reason(text: str) -> str:
    try:
        too_large = abs(Decimal(text)) * PRICE_SCALE >= PRICE_LIMIT
    except ArithmeticError:  # decimal's InvalidOperation: no number at all
        return "unparseable"
    return "out_of_range" if too_large else "unparseable"


def parse_lots(number: object) -> int:
    """Return a JSON number of lots as an exact int64 multiple of 1e-9. Raises: ValueRefused."""
    if type(number) is int:
        lots = number * PRICE_SCALE
        if -PRICE_LIMIT < lots < PRICE_LIMIT:
            return lots
        raise ValueRefused("out_of_range", f"size {number}")
    if type(number) is float:
        return parse_price(repr(number))
    raise ValueRefused("unparseable", f"size {str(number)[:80]!r} is not a number")


def check_trade(price: int, size: int) -> None:
    """Raise ValueRefused unless a scaled price and size may become a trade."""
    if not -PRICE_LIMIT < price < PRICE_LIMIT:
        raise ValueRefused("out_of_range", f"price {price}e-9")
    if size <= 0:
        raise ValueRefused("size_not_positive", f"size {size}e-9")
    if size >= PRICE_LIMIT:
        raise ValueRefused("out_of_range", f"size {size}e-9")


class Slot:
    """Where the rows of one instrument go: its shard, and its codes in the shard's dictionaries."""

    __slots__ = ("instrument", "shard", "venue")

    def __init__(self, shard: "_Shard", venue: int, instrument: int | None) -> None:
        self.shard, self.venue, self.instrument = shard, venue, instrument


class _Shard:
    # The rows of one commodity, and the names its codes stand for.
    __slots__ = ("instruments", "rows", "venues")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.venues: dict[str, int] = {}
        self.instruments: dict[str, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedRows:
    """Rows of one commodity taken out of a builder: tuples in the order of the columns of SCHEMAS[kind]."""

    kind: str
    commodity: str
    rows: list[Row]
    venues: list[str]
    instruments: list[str]

    def batch(self) -> pa.RecordBatch:
        """Return them as Arrow."""
        names, schema = {"venue": self.venues, "instrument": self.instruments}, SCHEMAS[self.kind]
        columns = [
            _encoded(column, field.type, names[field.name]) if field.name in names else pa.array(column, field.type)
            for column, field in zip(zip(*self.rows, strict=True), schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def payload(self) -> Payload:
        """Return them as a record of the log holds them: a few rows packed, many as Arrow."""
        return pack(self.kind, self.rows, (self.venues, self.instruments)) or self.batch()


class _ShardBuilder:
    # Rows per commodity, in arrival order.

    __slots__ = ("_shards", "rows")
    _kind: str

    def __init__(self) -> None:
        self._shards: dict[str, _Shard] = {}
        self.rows = 0
        """Rows not yet detached."""

    def slot(self, commodity: str, venue: str, instrument: str | None = None) -> Slot:
        """Return the slot of an instrument; of the venue's clock without one. Keep it: look-up is not free."""
        shard = self._shards.setdefault(commodity, _Shard())
        code = None if instrument is None else shard.instruments.setdefault(instrument, len(shard.instruments))
        return Slot(shard, shard.venues.setdefault(venue, len(shard.venues)), code)

    def detach(self) -> list[DetachedRows]:
        """Take all rows out, by swapping lists. O(1) in rows."""
        detached = []
        for commodity, shard in self._shards.items():
            if shard.rows:
                detached.append(
                    DetachedRows(
                        kind=self._kind,
                        commodity=commodity,
                        rows=shard.rows,
                        venues=list(shard.venues),
                        instruments=list(shard.instruments),
                    )
                )
                shard.rows = []
        self.rows = 0
        return detached

    def take(self) -> list[tuple[str, pa.RecordBatch]]:
        """Detach and convert in one step, where there is only one thread."""
        return [(rows.commodity, rows.batch()) for rows in self.detach()]


class TickBuilder(_ShardBuilder):
    """Collect trades, quotes, clock rows and so on per commodity, in arrival order.

    Shape: rows -> TICKS, one batch a commodity that has rows.
    State: the rows not yet detached (about 0.4 kB each); the names of all instruments ever seen.
    """

    __slots__ = ()
    _kind = "ticks"

    def trade(
        self,
        slot: Slot,
        ts_event: int,
        ts_recv: int | None,
        seq: int,
        price: int,
        size: int,
        side: int,
        trade_id: str | None,
        flags: int,
    ) -> None:
        """Append a trade that passed `check_trade`."""
        self.rows += 1
        slot.shard.rows.append(
            (
                TRADE,
                slot.venue,
                slot.instrument,
                ts_event,
                ts_recv,
                seq,
                price,
                size,
                side,
                trade_id,
                None,
                None,
                None,
                None,
                flags,
            )
        )

    def quote(
        self,
        slot: Slot,
        ts_event: int,
        ts_recv: int | None,
        seq: int,
        bid_price: int | None,
        bid_size: int | None,
        ask_price: int | None,
        ask_size: int | None,
        flags: int,
    ) -> None:
        """Append a top of book; None on a side that is empty."""
        self.rows += 1
        slot.shard.rows.append(
            (
                QUOTE,
                slot.venue,
                slot.instrument,
                ts_event,
                ts_recv,
                seq,
                None,
                None,
                None,
                None,
                bid_price,
                bid_size,
                ask_price,
                ask_size,
                flags,
            )
        )

    def clock(self, slot: Slot, ts_event: int, ts_recv: int | None) -> None:
        """Append the venue's promise that nothing up to `ts_event` is still to come."""
        self.rows += 1
        slot.shard.rows.append((CLOCK, slot.venue, None, ts_event, ts_recv, *(None,) * 9, 0))

    def bust(self, slot: Slot, ts_event: int, ts_recv: int | None, seq: int, trade_id: str, flags: int) -> None:
        """Append that a trade never was."""
        self.rows += 1
        slot.shard.rows.append(
            (BUST, slot.venue, slot.instrument, ts_event, ts_recv, seq, *(None,) * 3, trade_id, *(None,) * 4, flags)
        )

    def correction(
        self,
        slot: Slot,
        ts_event: int,
        ts_recv: int | None,
        seq: int,
        price: int,
        size: int,
        side: int,
        trade_id: str,
        flags: int,
    ) -> None:
        """Append the new terms of a trade; they passed `check_trade`."""
        self.trade(slot, ts_event, ts_recv, seq, price, size, side, trade_id, flags)
        slot.shard.rows[-1] = (CORRECTION, *slot.shard.rows[-1][1:])

    def state(self, slot: Slot, ts_event: int, ts_recv: int | None, quality: str) -> None:
        """Append that the instrument, or with the clock's slot all of the venue, is in a quality state."""
        self.rows += 1
        index = QUALITIES.index(quality)
        slot.shard.rows.append(
            (STATE, slot.venue, slot.instrument, ts_event, ts_recv, None, None, index, *(None,) * 6, 0)
        )


DepthRow = tuple[int, int | None, int | None, str | None, int | None, int | None, int | None]
"""What one change of a book says: the columns of DEPTH from `action` to `orders`."""


class DepthBuilder(_ShardBuilder):
    """Collect changes of books per commodity, in arrival order: rows of market.schemas.DEPTH."""

    __slots__ = ()
    _kind = "depth"

    def changes(
        self, slot: Slot, ts_event: int, ts_recv: int | None, seq: int | None, rows: Sequence[DepthRow]
    ) -> None:
        """Append all of one atomic change."""
        head, last, into = (slot.venue, slot.instrument, ts_event, ts_recv, seq), len(rows) - 1, slot.shard.rows
        self.rows += len(rows)
        for at, row in enumerate(rows):  # most have one row, for which a comprehension takes twice as long
            into.append(head + row + (at == last,))

    def change(
        self,
        slot: Slot,
        ts_event: int,
        ts_recv: int | None,
        seq: int | None,
        action: int,
        side: int | None = None,
        price: int | None = None,
        size: int | None = None,
        *,
        orders: int | None = None,
        level: int | None = None,
        entry_id: str | None = None,
        last: bool = False,
    ) -> None:
        """Append one change. `last` ends the venue's atomic change."""
        self.rows += 1
        slot.shard.rows.append(
            (
                slot.venue,
                slot.instrument,
                ts_event,
                ts_recv,
                seq,
                action,
                side,
                level,
                entry_id,
                price,
                size,
                orders,
                last,
            )
        )


def _encoded(codes: Iterable[int | None], kind: pa.DictionaryType, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, kind.index_type), pa.array(names, kind.value_type))


class RowBuilder:
    """Collect the rows of a ledger (rejected, gaps, status) as mappings in its schema's column names."""

    __slots__ = ("_rows", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, **row: object) -> None:
        """Append a row. A column that is left out is null."""
        self._rows.append(row)

    def detach(self) -> list[dict[str, Any]]:
        """Take all rows out, by swapping lists."""
        rows, self._rows = self._rows, []
        return rows

    def take(self) -> pa.RecordBatch | None:
        """Detach and convert in one step; None if there is no row."""
        return row_batch(self.name, self.detach())


def row_batch(name: str, rows: list[dict[str, Any]]) -> pa.RecordBatch | None:
    """Return the batch of ledger rows in the schema `name`; None if there is none."""
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMAS[name]) if rows else None


class FeedOutput:
    """All that a feed puts out: ticks, books, news, and the ledger of what was not straight through."""

    __slots__ = ("depth", "gaps", "news", "rejected", "status", "ticks")

    def __init__(self) -> None:
        self.ticks = TickBuilder()
        self.depth = DepthBuilder()
        self.news = RowBuilder("news")
        self.rejected = RowBuilder("rejected")
        self.gaps = RowBuilder("gaps")
        self.status = RowBuilder("status")

    @property
    def rows(self) -> int:
        """Rows not yet detached, of all kinds."""
        ledgers = len(self.rejected) + len(self.gaps) + len(self.status)
        return self.ticks.rows + self.depth.rows + len(self.news) + ledgers
