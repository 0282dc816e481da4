"""An anomaly from its beginning to its end: findings of one kind at one instrument, step after step, are one episode.

A rule says how long something must be odd before it is told (`opens_s`), for how long it must be gone to have ended
(`quiet_s`), whether no news is no end (`stays`: a book is as it was last said), and after how long it is the new usual
(`accept_s`). So each anomaly is told once, with an end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from market.detectors.protocol import (
    CROSSED_BOOK,
    FAT_FINGER,
    KINDS,
    NS_PER_S,
    PRICE_LIMIT,
    RETURN_SPIKE,
    SCALE_ERROR,
    SPREAD_BLOW_OUT,
    STALE_FEED,
    UNUSUAL,
    VOLUME_SURGE,
    Finding,
)

BAD_TICK: Final = "bad_tick"
REAL_MOVE: Final = "real_move"
FX_MOVE: Final = "fx_move"
POLICY_STEP: Final = "policy_step"
UNCONFIRMED: Final = "unconfirmed"
WITNESSES: Final = (BAD_TICK, REAL_MOVE, FX_MOVE, POLICY_STEP, UNCONFIRMED)

SEVERITIES: Final = ("low", "medium", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When an episode of a kind begins and ends, in seconds."""

    opens_s: int = 0
    quiet_s: int = 5
    accept_s: int = 600
    stays: bool = False


RULES: Final[Mapping[str, Rule]] = {
    RETURN_SPIKE: Rule(accept_s=20),
    VOLUME_SURGE: Rule(quiet_s=15, accept_s=300),
    SPREAD_BLOW_OUT: Rule(opens_s=3, stays=True),
    STALE_FEED: Rule(quiet_s=0, accept_s=86_400),
    CROSSED_BOOK: Rule(opens_s=1, quiet_s=2, stays=True, accept_s=86_400),
    PRICE_LIMIT: Rule(quiet_s=30, stays=True, accept_s=86_400),
    FAT_FINGER: Rule(quiet_s=10, accept_s=60),
    SCALE_ERROR: Rule(quiet_s=10, accept_s=300),
    UNUSUAL: Rule(opens_s=2, quiet_s=15, accept_s=300),
}
assert set(RULES) == set(KINDS)

DATA_ERRORS: Final = frozenset({CROSSED_BOOK, FAT_FINGER, SCALE_ERROR})
"""What of a step with one of these is true nobody knows: no detector learns it."""


@dataclass(slots=True, kw_only=True)
class Episode:
    """One anomaly, open. `worst` is its worst finding; it is told when it is `opened`."""

    instrument: str
    venue: str
    began_ns: int  # as the venue stamps it
    began_at_ns: int  # on the arrival clock, as the others
    worst: Finding
    last_ns: int
    clear_ns: int | None = None
    opened: bool = False
    witness: str = UNCONFIRMED
    witnessed: dict[str, Any] = field(default_factory=dict)
    settled: bool = False
    ended: str = ""
    ts_end: int | None = None

    @property
    def kind(self) -> str:
        return self.worst.kind

    @property
    def rule(self) -> Rule:
        return RULES[self.kind]

    @property
    def anomaly_id(self) -> str:
        return f"{self.instrument}/{self.kind}/{self.began_ns}"

    @property
    def severity(self) -> str:
        return SEVERITIES[(self.worst.score >= 2.0) + (self.worst.score >= 5.0)]

    def seen(self, finding: Finding, at_ns: int) -> None:
        """It goes on. Say nothing of it again, unless it gets worse."""
        self.last_ns, self.clear_ns = at_ns, None
        if finding.score > self.worst.score:
            self.worst = finding

    def clear(self, at_ns: int) -> None:
        if self.clear_ns is None:
            self.clear_ns = at_ns

    def due_ns(self) -> int | None:
        """When it has ended, if nothing odd is seen again; None while it goes on."""
        return None if self.clear_ns is None else self.clear_ns + self.rule.quiet_s * NS_PER_S

    def accept_ns(self) -> int:
        return self.began_at_ns + self.rule.accept_s * NS_PER_S
