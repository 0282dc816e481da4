"""A recorded file as the market of a venue: CSV with the columns of `mandi replay`, played from the simulator's start.

Rows are told in the order of the file, each when the running maximum of `ts_event` has come; the first row is the
start. A quote becomes a book of one level a side. Prices are told in the ticks of the contract master, or of the
finest price of the file where the master has none, and must be whole ticks.

Errors:

    ValueError
    └── BadRecording   a row that cannot be told
"""

import csv
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from feeds_simulator.events import OPEN, BookEvent, Event, Level, Listing, Side, StatusEvent, TradeEvent
from market.instruments import BadInstrumentKey, InstrumentKey, InstrumentMaster

NEVER_NS: Final = 1 << 62
_NS_PER_S: Final = 1_000_000_000
_PRICES: Final = ("price", "bid_price", "ask_price")
_SIDES: Final = {"buy": "B", "b": "B", "1": "B", "sell": "S", "s": "S", "-1": "S"}

Row = Mapping[str, str]


class BadRecording(ValueError):
    """A row cannot be told. Carries `path`, `line` and `reason`."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}, line {line}: {reason}")
        self.path, self.line, self.reason = path, line, reason


class Recording:
    """A `Market`: what a file says of the exchanges `mics`, or of all."""

    def __init__(
        self, path: Path, start_ns: int, symbol_of: Callable[[str], str] = str, mics: Container[str] | None = None
    ) -> None:
        """Read the instruments of the file. Raises: BadRecording; OSError."""
        self._path, self._mics = path, mics
        first_ns, ticks = self._survey()
        self._shift_ns = start_ns - first_ns
        self._by_key = {key: Listing(symbol_of(key), key, tick) for key, tick in ticks.items()}
        self.listings = {listing.symbol: listing for listing in self._by_key.values()}
        self._actions = self._tell(start_ns)
        self._next: tuple[int, list[Event]] | None = next(self._actions, None)

    @property
    def next_ns(self) -> int:
        return NEVER_NS if self._next is None else self._next[0]

    def pull(self, until_ns: int, max_actions: int = NEVER_NS) -> Sequence[Sequence[Event]]:
        """Take what was recorded up to and including `until_ns`. Raises: BadRecording."""
        taken: list[list[Event]] = []
        while self._next is not None and self._next[0] <= until_ns and len(taken) < max_actions:
            taken.append(self._next[1])
            self._next = next(self._actions, None)
        return taken

    def skip_to(self, ts_ns: int) -> None:
        """Let what was recorded before `ts_ns` pass."""
        while self._next is not None and self._next[0] < ts_ns:
            self._next = next(self._actions, None)

    # --- rows -----------------------------------------------------------------------------------

    def _rows(self) -> Iterator[tuple[int, Row]]:
        with self._path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                if self._mics is None or row.get("instrument", "").partition(":")[0] in self._mics:
                    yield line, row

    def _survey(self) -> tuple[int, dict[str, Decimal]]:
        # When the file begins, and the tick of each instrument.
        master, first_ns, ticks = InstrumentMaster.load(), None, dict[str, Decimal]()
        for line, row in self._rows():
            ts_ns = self._ts(line, row)
            first_ns = ts_ns if first_ns is None else first_ns
            key = row.get("instrument", "")
            try:
                contract = master.contract(
                    InstrumentKey.parse(key), datetime.fromtimestamp(ts_ns // _NS_PER_S, UTC).date()
                )
            except BadInstrumentKey as bad:
                raise BadRecording(self._path, line, str(bad)) from bad
            if contract is not None and contract.tick_size is not None:
                ticks[key] = contract.tick_size
                continue
            finest = (Decimal(1).scaleb(int(price.as_tuple().exponent)) for price in self._prices(line, row))
            ticks[key] = min(ticks.get(key, Decimal(1)), *finest, Decimal(1))
        if first_ns is None:
            raise BadRecording(self._path, 1, "no row of these exchanges")
        return first_ns, ticks

    def _tell(self, start_ns: int) -> Iterator[tuple[int, list[Event]]]:
        yield start_ns, [StatusEvent(start_ns, symbol, OPEN) for symbol in self.listings]
        due_ns = start_ns
        for line, row in self._rows():
            ts_ns = self._ts(line, row) + self._shift_ns
            due_ns = max(due_ns, ts_ns)
            yield due_ns, [self._event(line, row, ts_ns)]

    def _event(self, line: int, row: Row, ts_ns: int) -> Event:
        listing = self._by_key[row["instrument"]]
        if (row.get("kind") or "trade") == "quote":
            bids, asks = (self._side(line, row, listing, side) for side in ("bid", "ask"))
            return BookEvent(ts_ns, listing.symbol, bids, asks, True)
        price, size = self._ticks(line, row, listing, "price"), self._number(line, row, "size")
        trade_id = row.get("trade_id") or f"R{line}-{self._shift_ns:x}"
        side = _SIDES.get((row.get("side") or "").lower(), "B")
        return TradeEvent(ts_ns, listing.symbol, trade_id, price, int(size), side)

    def _side(self, line: int, row: Row, listing: Listing, side: str) -> Side:
        if not row.get(f"{side}_price"):
            return ()
        price = self._ticks(line, row, listing, f"{side}_price")
        return (Level(price, max(1, int(self._number(line, row, f"{side}_size"))), 1),)

    def _ticks(self, line: int, row: Row, listing: Listing, column: str) -> int:
        ticks = self._number(line, row, column) / listing.tick
        if ticks != int(ticks):
            raise BadRecording(self._path, line, f"{column} {row[column]} is no multiple of the tick {listing.tick}")
        return int(ticks)

    def _prices(self, line: int, row: Row) -> list[Decimal]:
        return [self._number(line, row, column) for column in _PRICES if row.get(column)]

    def _number(self, line: int, row: Row, column: str) -> Decimal:
        try:
            number = Decimal(row.get(column) or "")
        except InvalidOperation:
            raise BadRecording(self._path, line, f"{column} is {row.get(column)!r}, not a number") from None
        if not number.is_finite():
            raise BadRecording(self._path, line, f"{column} is {row.get(column)!r}, not finite")
        return number

    def _ts(self, line: int, row: Row) -> int:
        text = row.get("ts_event") or ""
        if text.isdigit():
            return int(text)
        whole, _, rest = text.partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        try:
            moment = datetime.fromisoformat(whole + rest[len(digits) :])
        except ValueError:
            raise BadRecording(self._path, line, f"ts_event is {text!r}, neither ns nor ISO 8601") from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp()) * _NS_PER_S + int(digits[:9].ljust(9, "0"))
