"""A line between a session and the FakeVenue: carries frames both ways, in order, and collects the rows."""

from collections.abc import Iterable
from typing import Any

from connectors.ice.config import IceConfig
from connectors.ice.session import Session
from connectors.ticks import FeedOutput
from market.schemas import (
    BUY,
    CLOCK,
    DIRTY,
    FLAG_REPLAYED,
    IMAGE,
    QUALITIES,
    QUOTE,
    SELL,
    SET,
    STATE,
    TRADE,
    require,
)
from tests.connectors.ice.venue import FakeVenue

CONFIG = IceConfig(url="ws://unused", key="key", secret="secret")
TRADE_COLUMNS = ("instrument", "ts_event", "seq", "price", "size", "side", "trade_id")
QUOTE_COLUMNS = ("instrument", "ts_event", "seq", "bid_price", "bid_size", "ask_price", "ask_size")

_ROWS = ("ticks", "depth", "rejected", "gaps", "status")


class Line:
    def __init__(self, venue: FakeVenue, config: IceConfig = CONFIG) -> None:
        self.venue, self.config = venue, config
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _ROWS}
        self.positions: dict[str, int | str] = {}
        self.now = venue.clock
        self._build(None)

    def _build(self, resume: dict[str, int | str] | None) -> None:
        self.output = FeedOutput()
        self.session = Session(self.config, self.output, resume)

    def open(self) -> None:
        self.session.on_open(self.tick())
        self.exchange()

    def close(self) -> None:
        self.session.on_close(1006, self.tick())

    def crash(self) -> None:
        """The process dies: rows that were not taken are lost, the next one resumes from the log."""
        self._build(self.positions)
        self.open()

    def tick(self, ns: int = 1_000) -> int:
        self.now += ns
        return self.now

    def deliver(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self.session.receive(frame, self.tick())
        self.exchange()

    def exchange(self) -> None:
        while requests := self.session.to_send():
            for request in requests:
                for frame in self.venue.answer(request):
                    self.session.receive(frame, self.tick())

    def flush(self) -> None:
        for _, batch in self.output.ticks.take():
            self.rows["ticks"] += require("ticks", batch).to_pylist()
        for _, batch in self.output.depth.take():
            self.rows["depth"] += require("depth", batch).to_pylist()
        for name in ("rejected", "gaps", "status"):
            batch = getattr(self.output, name).take()
            if batch is not None:
                self.rows[name] += require(name, batch).to_pylist()
        self.positions = self.session.positions()

    def market(self) -> list[dict[str, Any]]:
        """All ticks but those that say a state."""
        return [row for row in self.rows["ticks"] if row["kind"] != STATE]

    def states(self, instrument: str | None) -> list[str]:
        return [QUALITIES[row[1]] for row in self._of(STATE, ("instrument", "size")) if row[0] == instrument]

    def trades(self) -> list[tuple[Any, ...]]:
        return sorted(self._of(TRADE, TRADE_COLUMNS), key=lambda row: row[2])

    def quotes(self, instrument: str | None = None) -> list[tuple[Any, ...]]:
        return [row for row in self._of(QUOTE, QUOTE_COLUMNS) if instrument in (None, row[0])]

    def books(self) -> dict[str, dict[tuple[int, int], int] | None]:
        """What a reader of the log knows of each book: (side, price) -> size; None where it is not to be trusted."""
        books: dict[str, dict[tuple[int, int], int] | None] = {}
        for row in self.rows["depth"]:
            name, book = row["instrument"], books.get(row["instrument"])
            if row["action"] in (IMAGE, DIRTY):
                books[name] = {} if row["action"] == IMAGE else None
            elif row["action"] == SET and book is not None:
                book[row["side"], row["price"]] = row["size"]
            elif book is not None:
                del book[row["side"], row["price"]]
        return books

    def ladders(self) -> dict[str, dict[tuple[int, int], int]]:
        """The books as the session holds them."""
        return {
            book.listed.instrument: {
                (side, price): size
                for side, levels in ((BUY, book.ladder.bids), (SELL, book.ladder.asks))
                for price, size in levels.items()
            }
            for book in self.session.books.by_symbol.values()
        }

    def clocks(self) -> list[tuple[Any, ...]]:
        return self._of(CLOCK, ("venue", "ts_event"))

    def replayed(self) -> int:
        return sum(bool(row["flags"] & FLAG_REPLAYED) for row in self.rows["ticks"])

    def _of(self, kind: int, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in columns) for row in self.rows["ticks"] if row["kind"] == kind]

    def gaps(self) -> dict[str, dict[str, Any]]:
        """The ledger as a store has it: the last row of each gap."""
        return {row["gap_id"]: row for row in self.rows["gaps"]}
