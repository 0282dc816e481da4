"""The oracle of the quality kernel: facts in lists, and every verdict computed anew from them at a moment.

It shares the calendar and the words of the reasons with the kernel, no judgement. All rows have `recv`; trades of
products with hours come within them.
"""

from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
from reference import SECOND

from market.instruments import InstrumentMaster
from market.kernel import ARRIVALS
from market.schemas import CLOCK, QUALITIES, QUOTE, STATE, TRADE
from market.sessions import next_window
from market.skew import describe

MASTER = InstrumentMaster.load()
KINDS = {"trade": TRADE, "quote": QUOTE, "clock": CLOCK, "state": STATE}
FOREVER = 2**62


@dataclass
class Tick:
    """One arrival. `state` is an index into QUALITIES; a quote is crossed or plain."""

    kind: str
    venue: str
    instrument: str | None
    ts: int
    recv: int
    crossed: bool = False
    state: int = 0


def batch(ticks: list[Tick]) -> pa.RecordBatch:
    rows = [
        {
            "kind": KINDS[tick.kind],
            "venue": tick.venue,
            "instrument": tick.instrument,
            "ts_event": tick.ts,
            "ts_recv": tick.recv,
            "seq": number,
            "price": SECOND if tick.kind == "trade" else None,
            "size": {"trade": SECOND, "state": tick.state}.get(tick.kind),
            "side": 0 if tick.kind == "trade" else None,
            "bid_price": SECOND if tick.kind == "quote" else None,
            "ask_price": (SECOND if tick.crossed else 2 * SECOND) if tick.kind == "quote" else None,
            "flags": 0,
            "source": "test",
            "source_offset": 0,
            "source_row": number,
        }
        for number, tick in enumerate(ticks)
    ]
    plain = [
        pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type, f.nullable) for f in ARRIVALS
    ]
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(plain)).cast(ARRIVALS)


@dataclass
class Facts:
    venue: str
    name: str
    opened: int  # beginning of the last session it was seen or missed in
    came: int | None = None  # second of the last row
    active: int | None = None  # the same, or of a later state that explains the silence before it
    intervals: list[int] = field(default_factory=list)
    crossed_since: int | None = None
    state: int = 0
    was_silent: bool = False
    said: tuple | None = None


class QualityOracle:
    def __init__(self, *, learn: int, intervals: int, memory: int) -> None:
        self.learn, self.factor, self.memory = learn, intervals, memory
        self.now = -FOREVER
        self.high: dict[str, int] = {}
        self.facts: dict[tuple[str, str], Facts] = {}
        self.venue_state: dict[str, int] = {}
        self.windows: dict[tuple[int, str], list[int]] = {}
        self.verdicts: dict[str, list[int | None]] = {}  # what each window of a venue found
        self.skew: dict[str, int | None] = {}
        self.out: list[tuple] = []

    def feed(self, tick: Tick) -> None:
        late = False
        if tick.ts <= tick.recv + 300 * SECOND:
            high = self.high.get(tick.venue)
            late = tick.kind != "clock" and high is not None and tick.ts < high - 61 * SECOND
            if not late:
                self.high[tick.venue] = tick.ts if high is None else max(high, tick.ts)
        future = tick.ts > tick.recv + 300 * SECOND
        self._pass(max(self.now, tick.recv))
        self.now = max(self.now, tick.recv)
        if tick.kind in ("trade", "quote"):
            self.windows.setdefault((self.now // (10 * SECOND), tick.venue), []).append(tick.recv - tick.ts)
        if tick.kind in ("trade", "quote") and not late:
            facts = self._find(tick)
            if self._in_session(facts, self.now):
                self._active(facts)
            self._say(facts, self.now)
            if tick.kind == "quote" and not future:
                if not tick.crossed:
                    facts.crossed_since = None
                elif facts.crossed_since is None and not self._closed(facts, self.now):
                    facts.crossed_since = self.now
                self._say(facts, self.now)
        if tick.kind == "state":
            self._state(tick)

    def _active(self, facts: Facts) -> None:
        second = self.now // SECOND
        silent, start = self._silent(facts, self.now), self._session(facts, self.now)[0]
        if facts.active is not None and second > facts.active and facts.active * SECOND >= start and not silent:
            facts.intervals.append(second - facts.active)
        facts.came = facts.active = second
        facts.was_silent = False

    def _state(self, tick: Tick) -> None:
        if tick.instrument is None:
            self.venue_state[tick.venue] = tick.state
            for facts in list(self.facts.values()):
                if facts.venue == tick.venue:
                    self._say(facts, self.now)
            return
        facts = self._find(tick)
        facts.state = tick.state
        if tick.state == 0 and facts.active is not None:
            facts.active, facts.was_silent = max(facts.active, self.now // SECOND), False
        quality, _ = self._judge(facts, self.now)
        self._say(facts, self.now, again=quality != QUALITIES[tick.state])

    def _pass(self, until: int) -> None:
        """Let time pass: stop at every moment at which a verdict can change, the windows' ends first."""
        while True:
            moments = [(end + 1) * 10 * SECOND for end, _ in self.windows]
            for facts in self.facts.values():
                moments += [m for m in self._moments(facts) if m > self.now]
            due = min((m for m in moments if m <= until), default=None)
            if due is None:
                return
            self.now = max(self.now, due)
            for key in sorted(key for key in self.windows if (key[0] + 1) * 10 * SECOND == due):
                self._close_window(key[1], self.windows.pop(key), due)
            for facts in list(self.facts.values()):
                start, end = self._session(facts, due - 1)
                if start <= due - 1 and due == end:
                    facts.crossed_since, facts.was_silent = None, False
                if self._silent(facts, due):
                    facts.was_silent, facts.opened = True, self._session(facts, due)[0]
                self._say(facts, due)

    def _moments(self, facts: Facts) -> list[int]:
        start, end = self._session(facts, self.now)
        found = [end] if start <= self.now else []
        silent_at = self._silent_at(facts, (start, end))
        if silent_at is not None and not facts.was_silent:
            found.append(silent_at)
        if facts.crossed_since is not None:
            found.append(facts.crossed_since + SECOND)
        return found

    def _close_window(self, venue: str, delays: list[int], due: int) -> None:
        if len(delays) < 5:
            return
        found = min(delays) if min(delays) > 10 * SECOND else max(delays) if max(delays) < -2 * SECOND else None
        seen = self.verdicts.setdefault(venue, [])
        seen.append(found)
        before = self.skew.get(venue)
        two = len(seen) > 1 and (seen[-2] is None) == (found is None)
        if two and (found is None or before is None or abs(found - before) > 5 * SECOND):
            self.skew[venue] = found
        after = self.skew.get(venue)
        if after != before:
            says = ("LIVE", "clock_skew: settled") if after is None else ("DELAYED", f"clock_skew: {describe(after)}")
            self.out.append((venue, None, due, *says))
            for facts in self.facts.values():
                if facts.venue == venue:
                    self._say(facts, due)

    def _session(self, facts: Facts, at: int) -> tuple[int, int]:
        contract = MASTER.resolve(facts.name, date(2026, 11, 21))
        return next_window(contract, at) if contract.hours.intervals else (-FOREVER, FOREVER)

    def _in_session(self, facts: Facts, at: int) -> bool:
        start, end = self._session(facts, at)
        return start <= at < end

    def _silent_at(self, facts: Facts, session: tuple[int, int]) -> int | None:
        if facts.active is None or len(facts.intervals) < self.learn:
            return None
        mean = 0
        for number, interval in enumerate(facts.intervals, 1):
            mean += (interval * 1000 - mean) // min(number, self.memory)
        limit = -(-self.factor * mean // 1000)
        due = max((facts.active + 1) * SECOND, session[0]) + limit * SECOND
        return due if due < session[1] else None

    def _silent(self, facts: Facts, at: int) -> bool:
        due = self._silent_at(facts, self._session(facts, at))
        return facts.was_silent or (due is not None and self._in_session(facts, at) and at >= due)

    def _closed(self, facts: Facts, at: int) -> bool:
        if not self._in_session(facts, at):
            return True
        start = self._session(facts, at)[0]
        if facts.opened == start:
            return False
        return (facts.came is None or facts.came * SECOND + SECOND <= start) and not self._silent(facts, at)

    def _judge(self, facts: Facts, at: int) -> tuple[str, str]:
        against = [(0, "open")]
        if self._closed(facts, at):
            against.append((6, "closed"))
        against.append((facts.state, f"instrument_state: {QUALITIES[facts.state].lower()}"))
        state = self.venue_state.get(facts.venue, 0)
        against.append((state, f"venue_state: {QUALITIES[state].lower()}"))
        skew = self.skew.get(facts.venue)
        if skew is not None:
            against.append((4, f"clock_skew: {describe(skew)}"))
        if facts.crossed_since is not None and at >= facts.crossed_since + SECOND:
            against.append((2, "crossed: bid at or above ask"))
        if self._silent(facts, at):
            mean = 0
            for number, interval in enumerate(facts.intervals, 1):
                mean += (interval * 1000 - mean) // min(number, self.memory)
            limit = -(-self.factor * mean // 1000)
            against.append((1, f"silent: nothing for {limit} s, mean interval {mean / 1000:g} s"))
        quality, reason = max(against, key=lambda each: each[0])
        return QUALITIES[quality], reason

    def _find(self, tick: Tick) -> Facts:
        key = (tick.venue, tick.instrument)
        if key not in self.facts:
            facts = self.facts[key] = Facts(*key, opened=-1)
            start, _ = self._session(facts, self.now)
            facts.opened = start if start <= self.now else -1
        return self.facts[key]

    def _say(self, facts: Facts, at: int, *, again: bool = False) -> None:
        says = self._judge(facts, at)
        if says != facts.said or again:
            facts.said = says
            self.out.append((facts.venue, facts.name, at, *says))
