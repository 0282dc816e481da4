"""A stretch of the simulated market as ingest would have written it: every kind of record there is, so that every flow
has something to do and no table stays empty.

Stands for the venues' wires and for connectors; rows are built, written and counted by the code of the product. The
same seed gives the same rows for ever.
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.feed import Flush
from connectors.ticks import FeedOutput, Slot, row_batch
from feeds_simulator.backend.desk import Change, Desk, DeskConfig
from feeds_simulator.events import HALT, BookEvent, BustEvent, Event, SettleEvent, StatusEvent
from feeds_simulator.events import TradeEvent as Trade
from feeds_simulator.faults import Faults
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig, Profile
from feeds_simulator.news import Headline, NewsDesk
from feeds_simulator.scenarios import Script, parse
from feeds_simulator.stage import Stage
from market.instruments import InstrumentMaster, to_fixed
from market.records import JSON_KIND, LogWriter
from market.schemas import BUY, IMAGE, PRICE_SCALE, SELL, SET
from market.trade_events import TradeEvent, to_log
from pipelines.backend import EVENTS
from pipelines.ingest import _Duty, _FlushPart

S = 1_000_000_000
START_NS = int(datetime(2026, 11, 24, 14, 40, tzinfo=UTC).timestamp()) * S
"""COMEX, NYMEX, MCX, ICE and the rupee trade."""

PRODUCTS = {("XCEC", "GC"), ("XNYM", "CL"), ("XIMC", "GOLD"), ("XIMC", "CRUDEOIL"), ("IFUS", "CT"), ("BBG", "USDINR")}
SCENARIOS = "spike,fat_finger,bust_and_correct,crossed,halt"
RATE = {"ice": 6.0, "mcx": 6.0, "cme": 6.0, "bloomberg": 14.0}
"""Messages a second. Of the rupee so many that it has bars enough for models to be fitted on them."""
STEP_NS = S // 2
QUIET_NS = 40 * 60 * S
"""What the last record says has passed without a row: every mark-out has come, and every bar of an hour is final."""

Item = tuple[int, int, int, Any]
"""When it is received, by which venue, a number, and what."""


@dataclass(slots=True)
class _Venue:
    # One venue's feed: its stage, and the rows that wait for the next flush.
    name: str
    stage: Stage
    output: FeedOutput
    slots: dict[str, Slot]
    clocks: dict[str, tuple[str, Slot]]
    seq: int = 0


class Simulated:
    """Appends the market to a log, half a second of it at a time (tests.chaos.harness.growing)."""

    def __init__(self, seed: int, seconds: int) -> None:
        self.end_ns = START_NS + seconds * S
        self.done_ns = START_NS
        self._chance = random.Random(seed)
        self._venues = [_venue(name, seed) for name in PROFILES]
        self._desk = Desk(DeskConfig(start_ns=START_NS, seed=seed, rate=0.5, profiles=_wanted("ice") + _wanted("mcx")))
        self._news = NewsDesk(seed, START_NS, ["gold", "wti", "cotton"], every_s=10.0)
        self._late: list[Item] = []
        self._number = 0
        self._writer: LogWriter | None = None
        self._part: _FlushPart | None = None

    @property
    def is_over(self) -> bool:
        return self.done_ns > self.end_ns

    def append_to(self, writer: LogWriter) -> None:
        """Append the next half second, and flush; nothing when it is over."""
        if self.is_over:
            return
        if writer is not self._writer or self._part is None:
            self._writer, self._part = writer, _FlushPart(writer, _Duty(), lambda: self.done_ns, {})
        is_last = self.done_ns == self.end_ns
        until_ns = self.end_ns + QUIET_NS if is_last else self.done_ns + STEP_NS
        for item in [] if is_last else self._received(until_ns):
            self._tell(item)
        self._beat(until_ns)
        for change in [] if is_last else self._desk.pull(until_ns):
            event = _backend_event(change)
            writer.append(EVENTS, JSON_KIND, to_log(event), key=event.trade_id)
        self._part.write_batch([_flush(venue) for venue in self._venues])
        self.done_ns = self.end_ns + 1 if is_last else until_ns

    # What comes, in order of receipt. Some trades are told late, some far too late, and some are stamped ahead.

    def _received(self, until_ns: int) -> Iterator[Item]:
        for number, venue in enumerate(self._venues):
            for action in venue.stage.pull(until_ns):
                for event in action:
                    self._number += 1
                    heapq.heappush(self._late, (event.ts_event + self._delay_ns(event), number, self._number, event))
        for story in self._news.pull(until_ns):
            self._number += 1
            heapq.heappush(self._late, (story.ts_event, len(self._venues) - 1, self._number, story))
        while self._late and self._late[0][0] <= until_ns:
            yield heapq.heappop(self._late)

    def _delay_ns(self, event: Event) -> int:
        if not isinstance(event, Trade) or event.corrects:
            return 1_000_000
        return self._chance.choices([1_000_000, 20 * S, 70 * S], [900, 40, 60])[0]

    def _tell(self, item: Item) -> None:
        ts_recv, number, _, what = item
        venue = self._venues[number]
        venue.seq += 1
        if isinstance(what, Headline):
            venue.output.news.append(**_story(what, ts_recv))
            return
        slot, tick = venue.slots[what.symbol], venue.stage.listings[what.symbol].tick
        ticks, about = venue.output.ticks, (slot, what.ts_event, ts_recv)
        if isinstance(what, BookEvent):
            if what.eot:
                self._tell_book(venue, what, ts_recv)
        elif isinstance(what, Trade):
            price, size = to_fixed(what.price * tick), what.qty * PRICE_SCALE
            side = BUY if what.aggressor == "B" else SELL
            ahead = 3_600 * S if not what.corrects and self._chance.random() < 0.01 else 0
            say = ticks.correction if what.corrects else ticks.trade
            say(slot, what.ts_event + ahead, ts_recv, venue.seq, price, size, side, what.trade_id, 0)
        elif isinstance(what, BustEvent):
            ticks.bust(*about, venue.seq, what.trade_id, 0)
        elif isinstance(what, StatusEvent):
            quality = "HALTED" if what.state == HALT else "LIVE"
            ticks.state(*about, quality)
            key = venue.stage.listings[what.symbol].key
            row = {"venue": key.partition(":")[0], "instrument": key, "ts_event": what.ts_event}
            venue.output.status.append(**row, quality=quality, reason=f"the venue says {what.state}")
        else:
            assert isinstance(what, SettleEvent)

    def _tell_book(self, venue: _Venue, book: BookEvent, ts_recv: int) -> None:
        slot, tick = venue.slots[book.symbol], venue.stage.listings[book.symbol].tick
        sides = [[(to_fixed(one.price * tick), one.qty * PRICE_SCALE) for one in side] for side in book[2:4]]
        bid, ask = (side[0] if side else (None, None) for side in sides)
        venue.output.ticks.quote(slot, book.ts_event, ts_recv, venue.seq, *bid, *ask, 0)
        levels = [(side, *level) for side, found in zip((BUY, SELL), sides, strict=True) for level in found]
        key = venue.stage.listings[book.symbol].key
        commodity = InstrumentMaster.load().commodity_of(key)
        change, deep = venue.output.depth.change, self._deep(venue, commodity, key)
        change(deep, book.ts_event, ts_recv, venue.seq, IMAGE, last=not levels)
        for at, (side, price, size) in enumerate(levels, 1):
            change(deep, book.ts_event, ts_recv, venue.seq, SET, side, price, size, last=at == len(levels))

    @staticmethod
    def _deep(venue: _Venue, commodity: str, key: str) -> Slot:
        name = f"depth {key}"
        if name not in venue.slots:
            venue.slots[name] = venue.output.depth.slot(commodity, key.partition(":")[0], key)
        return venue.slots[name]

    def _beat(self, until_ns: int) -> None:
        # Each venue's heartbeat; and now and then a hole in its numbers, which is filled again.
        for venue in self._venues:
            for _, clock in venue.clocks.values():
                venue.output.ticks.clock(clock, until_ns - 1_000_000, until_ns)
        if self._chance.random() < 0.05:
            venue = self._chance.choice(self._venues)
            gap = {"gap_id": f"{venue.name}/s/trades/{venue.seq}", "venue": venue.name, "channel": "trades"}
            gap |= {"seq_from": venue.seq, "seq_to": venue.seq + 2, "ts_detected": until_ns, "recovered_rows": 0}
            venue.output.gaps.append(**gap, reason="a test")
            if self._chance.random() < 0.7:
                gap |= {"ts_resolved": until_ns + 5, "resolution": "replay", "recovered_rows": 3}
                venue.output.gaps.append(**gap, reason="a test")
            bad = {"venue": venue.name, "reason": "malformed_frame", "detail": "a test", "raw": str(venue.seq)}
            venue.output.rejected.append(**bad, source=venue.name, source_offset=venue.seq, source_row=0)


def _wanted(name: str) -> tuple[Profile, ...]:
    return tuple(profile for profile in PROFILES[name] if (profile.mic, profile.root) in PRODUCTS)


def _venue(name: str, seed: int) -> _Venue:
    script = Script(parse(SCENARIOS), START_NS, tuple(PROFILES))
    config = ModelConfig(
        start_ns=START_NS,
        seed=seed,
        rate=RATE[name],
        profiles=_wanted(name),
        bust_every=script.bust_every,
        correct_every=script.correct_every,
        moves=script.moves(),
    )
    venue = _Venue(name, Stage(name, MarketModel(config), script, Faults()), FeedOutput(), {}, {})
    for symbol, listing in venue.stage.listings.items():
        commodity, mic = InstrumentMaster.load().commodity_of(listing.key), listing.key.partition(":")[0]
        venue.slots[symbol] = venue.output.ticks.slot(commodity, mic, listing.key)
        venue.clocks.setdefault(commodity, (mic, venue.output.ticks.slot(commodity, mic)))
    return venue


def _story(story: Headline, ts_recv: int) -> dict[str, Any]:
    return {
        "news_id": story.story_id,
        "venue": "BBG",
        "ts_event": story.ts_event,
        "ts_recv": ts_recv,
        "headline": story.headline,
        "body": story.body,
        "topics": " ".join(story.commodities),
        "instruments": "",
        "urgency": story.urgency,
    }


def _backend_event(change: Change) -> TradeEvent:
    return TradeEvent(
        event_id=change.event_id,
        event_type=change.event_type,
        trade_id=change.order_id,
        user_id=change.user,
        instrument=change.instrument,
        side=BUY if change.side == "buy" else SELL,
        quantity=to_fixed(change.quantity),
        price=to_fixed(change.price),
        ts_event=change.ts_event,
        ts_recv=change.ts_event + 1_000_000,
    )


def _flush(venue: _Venue) -> Flush:
    output = venue.output
    ledgers = {name: row_batch(name, getattr(output, name).detach()) for name in ("rejected", "gaps", "status", "news")}
    prices = sorted(output.ticks.detach() + output.depth.detach(), key=lambda rows: (rows.commodity, rows.kind))
    return Flush(venue=venue.name, prices=prices, positions={}, counters={}, **ledgers)
