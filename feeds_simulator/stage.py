"""One venue's market with scenarios played on it: what the pacing loop pulls from instead of the bare model.

Pure and deterministic: the stream depends on the market and the script alone, never on how it is pulled. Acts on
the wire switch the venue's `Faults` when their time has come. What was said is counted, and what was done is kept
as the ground truth, to be written by whoever owns a file.

Units: times ns UTC by the market clock.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from feeds_simulator.events import (
    HALT,
    LIMIT,
    BookEvent,
    BustEvent,
    Event,
    Listing,
    SettleEvent,
    StatusEvent,
    TradeEvent,
)
from feeds_simulator.faults import NS_PER_S, Faults
from feeds_simulator.pacing import Market
from feeds_simulator.plays import PLAYS, Playing, Scene
from feeds_simulator.scenarios import Act, Flash, Play, Script, Shift, Wire
from market.instruments import InstrumentKey, InstrumentMaster

_NO_LIMIT: Final = 1 << 62

Record = dict[str, Any]


class Stage:
    """A `Market`. `said` counts (symbol, what) of all that was told; `truth` is what was done, in order.

    `heard` may be set to say of which symbols anybody is told: only those are counted.
    """

    def __init__(self, venue: str, market: Market, script: Script, faults: Faults) -> None:
        self.venue, self._market, self._script, self._faults = venue, market, script, faults
        self.said: Counter[tuple[str, str]] = Counter()
        self.truth: list[Record] = []
        self.heard: Callable[[str], bool] = lambda _: True
        self.told: Callable[[], Mapping[str, Mapping[str, int]]] | None = None
        """By instrument, what went onto the wire, where that is not what was said: a broker's state of MCX stands for
        several events."""
        self.lost: Callable[[], Mapping[str, int]] | None = None
        """By instrument, the trades, corrections and busts that the wire lost, where none is repeated."""
        self._scenes = {symbol: Scene(listing) for symbol, listing in market.listings.items()}
        self._products = {symbol: _product_of(listing) for symbol, listing in market.listings.items()}
        self._playing: dict[tuple[int, str], Playing] = {}
        self._by_symbol: dict[str, list[Playing]] = {}
        self._cues: list[tuple[int, bool, int, int]] = []  # time, whether it begins (ends come first), act, occurrence
        self._active: dict[int, Wire] = {}
        self._usual: dict[str, Any] = {}
        self._last_ns = 0
        self._closed = False
        for number in range(len(script.acts)):
            self._cue(number, 0)

    @property
    def listings(self) -> Mapping[str, Listing]:
        return self._market.listings

    @property
    def next_ns(self) -> int:
        if self._closed:
            return _NO_LIMIT
        return min(self._market.next_ns, self._cues[0][0]) if self._cues else self._market.next_ns

    def close(self) -> None:
        """Let nothing more happen, neither on the market nor wrong on the wire: what was said stays as it is."""
        self._closed = True
        self._faults.close()

    def skip_to(self, ts_ns: int) -> None:
        self._market.skip_to(ts_ns)

    def pull(self, until_ns: int, max_actions: int = _NO_LIMIT) -> list[Sequence[Event]]:
        """Take what was said up to and including `until_ns`, at most about `max_actions`; nothing: there is no more."""
        taken: list[Sequence[Event]] = []
        while not taken and self.next_ns <= until_ns:
            self._pull(until_ns, max_actions, taken)
        for action in taken:
            for event in action:
                if type(event) is StatusEvent:
                    self._note_state(event)
        return taken

    def _pull(self, until_ns: int, max_actions: int, taken: list[Sequence[Event]]) -> None:
        cues = self._cues
        for action in self._market.pull(until_ns, max_actions):
            while cues and cues[0][0] < action[0].ts_event:
                self._play_next(taken)
            said = self._stage(action)
            if said:
                self._last_ns = said[0].ts_event
                taken.append(said)
        while cues and cues[0][0] <= until_ns and self._market.next_ns > cues[0][0]:
            self._play_next(taken)

    # --- acts -----------------------------------------------------------------------------------

    def _cue(self, number: int, occurrence: int) -> None:
        _, act = self._script.acts[number]
        window = act.when.window(occurrence) if self._is_ours(act) else None
        if window is None:
            return
        begin_ns = self._script.start_ns + int(window[0] * NS_PER_S)
        heapq.heappush(self._cues, (begin_ns, True, number, occurrence))
        if window[1] != float("inf"):
            end_ns = self._script.start_ns + int(window[1] * NS_PER_S)
            heapq.heappush(self._cues, (end_ns, False, number, occurrence))

    def _is_ours(self, act: Act) -> bool:
        if isinstance(act, Wire):
            return self._script.strikes(act, self.venue)
        return isinstance(act, Flash) or bool(self._concerned(act))

    def _concerned(self, act: Shift | Play) -> list[str]:
        return [symbol for symbol, (product, commodity) in self._products.items() if {product, commodity} & act.names]

    def _play_next(self, taken: list[Sequence[Event]]) -> None:
        ts_ns, begins, number, occurrence = heapq.heappop(self._cues)
        name, act = self._script.acts[number]
        if begins:
            self._cue(number, occurrence + 1)
            self._note(name, act, occurrence)
        if isinstance(act, Wire):
            self._switch(number, act, begins)
        elif isinstance(act, Play):
            ts_ns = max(ts_ns, self._last_ns + 1)
            which = occurrence if begins else None
            said = [one for symbol in self._concerned(act) for one in self._play(number, act, symbol, ts_ns, which)]
            if said:
                self._last_ns = ts_ns
                taken.append(said)

    def _switch(self, number: int, act: Wire, begins: bool) -> None:
        # The latest act on a field decides; without one it is as it was at the start.
        if begins:
            self._active[number] = act
        else:
            del self._active[number]
        for field in act.faults:
            usual = self._usual.setdefault(field, getattr(self._faults, field))
            values = [other.faults[field] for other in self._active.values() if field in other.faults]
            setattr(self._faults, field, values[-1] if values else usual)

    def _play(self, number: int, act: Play, symbol: str, ts_ns: int, occurrence: int | None) -> list[Event]:
        key, playing_here = (number, symbol), self._by_symbol.setdefault(symbol, [])
        if occurrence is None:
            playing = self._playing.pop(key)
            playing_here.remove(playing)
            return self._through(playing_here, playing.end(ts_ns))
        name = f"{self._script.start_ns // 1_000_000:x}-{number}-{occurrence}-{symbol.replace(' ', '')}"
        playing = self._playing[key] = PLAYS[act.what](self._scenes[symbol], act.size, name)
        said = self._through(playing_here, playing.begin(ts_ns))
        playing_here.append(playing)
        return said

    # --- events ---------------------------------------------------------------------------------

    def _stage(self, action: Sequence[Event]) -> Sequence[Event]:
        if not self._script.acts:
            return action
        said: list[Event] = []
        for event in action:
            self._scenes[event.symbol].see(event)
            said += self._through(self._by_symbol.get(event.symbol, ()), [event])
        return said

    @staticmethod
    def _through(playing: Sequence[Playing], events: list[Event]) -> list[Event]:
        for one in playing:
            events = [said for event in events for said in one.during(event)]
        return events

    def count(self, told: Sequence[Sequence[Event]]) -> None:
        """Count what is told in the end: a trade that was held back is heard by whoever listens then."""
        said, heard = self.said, self.heard
        for action in told:
            for event in action:
                if heard(event.symbol):
                    corrects = isinstance(event, TradeEvent) and event.corrects
                    said[event.symbol, "corrections" if corrects else _COUNTED[type(event)]] += 1

    def _note_state(self, event: StatusEvent) -> None:
        if event.state in (HALT, LIMIT):
            key = self.listings[event.symbol].key
            record = {"what": event.state.lower(), "venue": self.venue, "instrument": key}
            self.truth.append({**record, "from": str(event.ts_event), "to": None, "size": None})

    def _note(self, name: str, act: Act, occurrence: int) -> None:
        window = act.when.window(occurrence)
        assert window is not None
        from_ns, to_ns = (
            None if at == float("inf") else str(self._script.start_ns + int(at * NS_PER_S)) for at in window
        )
        record: Record = {"what": name, "venue": self.venue, "from": from_ns, "to": to_ns}
        if isinstance(act, Wire):
            self.truth.append({**record, "instrument": None, "size": dict(act.faults)})
        elif isinstance(act, Flash):
            self.truth.append({**record, "instrument": None, "size": act.headline})
        else:
            kind = act.kind.value if isinstance(act, Shift) else act.what
            for symbol in self._concerned(act):
                key = self.listings[symbol].key
                self.truth.append({**record, "instrument": key, "kind": kind, "size": act.size})


_COUNTED: Final[Mapping[type, str]] = {
    TradeEvent: "trades",
    StatusEvent: "states",
    BookEvent: "books",
    BustEvent: "busts",
    SettleEvent: "settlements",
}


def _product_of(listing: Listing) -> tuple[str, str]:
    key = InstrumentKey.parse(listing.key)
    return f"{key.mic}:{key.root}", InstrumentMaster.load().commodity_of(listing.key)
