"""One instrument as the quality kernel sees it: its session, its pace, what speaks against it. No Arrow, no batches.

What falls due at a time (`due`) is applied with `fall_due`; what arrives, with `came`, `quoted` and `stated`.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from market.days import hours_of
from market.leadlag import Behind
from market.schemas import QUALITIES
from market.sessions import Hours, NoCommonSession, next_window
from market.skew import VenueSkew, describe, span

NS_PER_S: Final = 1_000_000_000
NEVER: Final = 2**62
LIVE, STALE, GAP, DELAYED, CLOSED = (QUALITIES.index(name) for name in ("LIVE", "STALE", "GAP", "DELAYED", "CLOSED"))
AFTER_CLOSE_NS: Final = 300 * NS_PER_S
"""What a venue still prints so soon after its close is no session of its own."""

FORGOTTEN_NS: Final = 10 * 86_400 * NS_PER_S
"""As long as the longest closure we know: a contract that is silent for longer has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a silence is too long, and a crossed book too old."""

    intervals: int = 20
    """So many mean intervals of silence: 20 s at least, and by chance once in 5e8 if arrivals are independent."""
    learn: int = 8  # intervals to have seen before a silence says anything
    memory: int = 32  # intervals the mean goes back
    crossed_ns: int = 1 * NS_PER_S
    arrival_ns: int = 1 * NS_PER_S
    """How far behind the market clock `on_time` stays: rows may be on their way."""


class Says(NamedTuple):
    """A quality, as an index into QUALITIES, and why."""

    quality: int
    reason: str


@dataclass(slots=True)
class Venue:
    """What holds for all instruments of a venue."""

    skew: VenueSkew = field(default_factory=VenueSkew)
    stated: int = LIVE
    behind: Behind | None = None

    def detached(self) -> "Venue":
        """Return a copy that shares nothing that changes."""
        return Venue(copy(self.skew), self.stated, self.behind)

    @property
    def offset_ns(self) -> int | None:
        """By how much the venue is behind, by receipt or, where that is right, by what other venues did."""
        return self.skew.offset_ns if self.skew.offset_ns is not None or self.behind is None else self.behind.lag_ns

    def skewed(self) -> Says | None:
        if self.skew.offset_ns is not None:
            return Says(DELAYED, f"clock_skew: {describe(self.skew.offset_ns)}")
        if self.behind is None:
            return None
        when = "after" if self.behind.lag_ns > 0 else "before"
        return Says(DELAYED, f"lead_lag: prices move {span(self.behind.lag_ns)} {when} those of {self.behind.other}")


@dataclass(slots=True)
class Watched:
    """State: about 200 bytes."""

    patience: Patience
    venue: str
    name: str
    window: tuple[int, int]  # the session, or while closed the next one
    closed: bool
    closed_at: int | None = None
    outside: bool = False  # `window` is no session of the calendar: it trades all the same
    session: tuple[int, int] = (NEVER, NEVER)  # while outside: the calendar's next
    active_s: int | None = None  # the last second in which something came
    mean_ms: int = 0
    seen: int = 0
    state: int = LIVE  # as the venue says
    silent: str = ""
    crossed_since: int | None = None
    crossed: bool = False
    said: Says | None = None

    @classmethod
    def first_seen(cls, patience: Patience, venue: str, name: str, now: int) -> "Watched":
        window = session_at(name, now)
        return cls(patience, venue, name, window, closed=window[0] > now)

    def due(self) -> int:
        """When time alone will change something; NEVER if it will not."""
        return min(self._silent_at(), self._crossed_at(), self._closes_at(), self.forgotten_at())

    def forgotten_at(self) -> int:
        return NEVER if self.active_s is None else self.active_s * NS_PER_S + FORGOTTEN_NS

    def fall_due(self, at: int) -> None:
        """Apply what is due at `at`, short of being forgotten."""
        if at == self._closes_at():
            self.closed, self.outside, self.closed_at, self.silent = True, False, at, ""
            self.crossed_since, self.crossed = None, False
            self.window = session_at(self.name, at)
        elif at == self._crossed_at():
            self.crossed = True
        else:
            self.silent = f"silent: nothing for {self._limit_s()} s, mean interval {self.mean_ms / 1000:g} s"
            self.closed = False

    def came(self, now: int, *, trade: bool) -> bool:
        """Take a row; a trade opens what the calendar has as closed. Say whether that may have changed anything."""
        before = (self.closed, self.outside, self.silent)
        if self.closed and now >= self.window[0]:
            self.closed = False
        elif self.closed and trade and (self.closed_at is None or now >= self.closed_at + AFTER_CLOSE_NS):
            self.closed, self.outside, self.session, self.window = False, True, self.window, (now, now)
        if not self.closed:
            if self.outside:
                self._enter_session(now)
            self._learn(now // NS_PER_S)
            if self.outside:  # after the pace was learnt: a second row of this second changes nothing
                self._stay_outside(now)
        # At `learn` intervals a silence falls due for the first time.
        return self.said is None or before != (self.closed, self.outside, "") or self.seen == self.patience.learn

    def quoted(self, now: int, *, crossed: bool) -> None:
        if not crossed:
            self.crossed_since, self.crossed = None, False
        elif self.crossed_since is None and not self.closed:
            self.crossed_since = now

    def stated(self, state: int, now: int) -> None:
        """Take the venue's word. A silence counts from the end of what explained it."""
        self.state = state
        if state == LIVE and self.active_s is not None:
            self.active_s, self.silent = max(self.active_s, now // NS_PER_S), ""

    def judge(self, venue: Venue) -> Says:
        """Return the worst of what speaks against it."""
        return max(self._against(venue), key=lambda says: says.quality)

    def _against(self, venue: Venue) -> Iterable[Says]:
        yield Says(LIVE, "outside_calendar" if self.outside else "open")
        if self.closed:
            yield Says(CLOSED, "closed")
        for who, state in (("instrument_state", self.state), ("venue_state", venue.stated)):
            yield Says(state, f"{who}: {QUALITIES[state].lower()}")
        skewed = venue.skewed()
        if skewed is not None:
            yield skewed
        if self.crossed:
            yield Says(GAP, "crossed: bid at or above ask")
        if self.silent:
            yield Says(STALE, self.silent)

    def _limit_s(self) -> int:
        return -(-self.patience.intervals * self.mean_ms // 1000)  # a mean is a second at least

    def _silent_at(self) -> int:
        # Only within a session; before the first row of one, from its opening on.
        if self.silent or self.seen < self.patience.learn or self.active_s is None:
            return NEVER
        since = max((self.active_s + 1) * NS_PER_S, self.window[0])
        due = since + self._limit_s() * NS_PER_S
        return due if due < self.window[1] else NEVER

    def _crossed_at(self) -> int:
        if self.crossed_since is None or self.crossed:
            return NEVER
        return self.crossed_since + self.patience.crossed_ns

    def _closes_at(self) -> int:
        return self.window[1]  # also of a session in which nothing came: the next one is then waited for

    def _enter_session(self, now: int) -> None:
        if now >= self.session[1]:
            self.session = session_at(self.name, now)
        if self.session[0] <= now:
            self.outside, self.window = False, self.session

    def _stay_outside(self, now: int) -> None:
        # It is open until the calendar's next session takes over, or until it has been silent for long.
        end = (now // NS_PER_S + 1 + max(60, self._limit_s())) * NS_PER_S
        self.window = (self.window[0], min(end, self.session[0]))

    def _learn(self, second: int) -> None:
        # The pace is learnt from intervals within a session that were no silence.
        last = self.active_s
        if last is not None and second > last and last * NS_PER_S >= self.window[0] and not self.silent:
            self.seen += 1
            self.mean_ms += ((second - last) * 1000 - self.mean_ms) // min(self.seen, self.patience.memory)
        self.active_s, self.silent = second, ""


@dataclass(frozen=True, slots=True)
class _Product:
    hours: Hours


def session_at(key: str, at: int) -> tuple[int, int]:
    """Return the session that is open at a time, or the next; without beginning or end where hours are not known."""
    hours = hours_of(key, datetime.fromtimestamp(at // NS_PER_S, UTC).date())
    if not hours.intervals:
        return -NEVER, NEVER
    try:
        return next_window(_Product(hours), at)
    except NoCommonSession:  # a fortnight of holidays: nothing that we could say of it
        return -NEVER, NEVER
