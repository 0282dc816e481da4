"""The numbers of incoming messages: what is next, what is held back, which hole is open. Pure.

expected  the next number to apply
held      messages past a hole, by number
gap       the ledger row of the hole at `expected`, while it is open
resend    the ResendRequest that is under way; only one at a time, so a second hole makes no storm
"""

import heapq
from dataclasses import dataclass, field

from connectors.fix.constants import HELD_MESSAGES, RESEND_TIMEOUT_NS
from connectors.fix.message import Message

GapFields = tuple[int, int, int, str, int]


@dataclass(slots=True, kw_only=True)
class Gap:
    """A hole as the ledger knows it; reported when found, again when closed."""

    seq_from: int
    seq_to: int
    ts_detected: int
    reason: str
    recovered: int = 0
    """Messages that came again, without those that the venue filled."""


@dataclass(slots=True, kw_only=True)
class Resend:
    """A ResendRequest under way, up to the newest number that had come when it was asked: it fills every hole."""

    until: int
    deadline_ns: int
    attempt: int = 1


@dataclass(slots=True)
class Incoming:
    """Where the incoming side stands. State: at most HELD_MESSAGES messages held back."""

    expected: int = 1
    held: dict[int, Message] = field(default_factory=dict)
    gap: Gap | None = None
    resend: Resend | None = None
    _highest_held: int = 0
    _order: list[int] = field(default_factory=list)
    """A heap of what is held, and of what no longer is: a look at all of it for each message that comes again would
    take longer than the venue takes to send the next."""

    def hold(self, message: Message) -> bool:
        """Keep a message for later; False if there is no room, so that it must be sent again."""
        if len(self.held) >= HELD_MESSAGES:
            return False
        if message.seq not in self.held:
            self.held[message.seq] = message
            self._highest_held = max(self._highest_held, message.seq)
            heapq.heappush(self._order, message.seq)
        return True

    def first_held(self) -> int | None:
        """Return the lowest number held, and forget what is held of numbers before `expected`."""
        order = self._order
        while order and (order[0] < self.expected or order[0] not in self.held):
            self.held.pop(heapq.heappop(order), None)
        return order[0] if order else None

    def open_gap(self, seq: int, now_ns: int, reason: str) -> Gap | None:
        """A message `seq` showed a hole: return its ledger row if it is new."""
        if self.gap is not None:
            return None
        first_held = self.first_held()
        last = max(self.expected, min(seq if first_held is None else first_held, seq) - 1)
        self.gap = Gap(seq_from=self.expected, seq_to=last, ts_detected=now_ns, reason=reason)
        return self.gap

    def ask(self, until: int, now_ns: int, attempt: int = 1) -> bool:
        """Start a resend of all there is, unless one is under way; `until`: at least so far."""
        if self.resend is not None:
            return False
        self.resend = Resend(
            until=max(until, self._highest_held), deadline_ns=now_ns + RESEND_TIMEOUT_NS, attempt=attempt
        )
        return True

    def progressed(self, now_ns: int) -> Gap | None:
        """`expected` moved on: return the ledger row of the hole if it is closed now."""
        if self.resend is not None:
            self.resend.deadline_ns, self.resend.attempt = now_ns + RESEND_TIMEOUT_NS, 1
            if self.expected > self.resend.until:
                self.resend = None
        gap = self.gap
        if gap is None or self.expected <= gap.seq_to:
            return None
        self.gap = None
        return gap

    def disconnect(self) -> None:
        """Forget what belongs to the socket: what was held will be sent again."""
        self.held.clear()
        self._order.clear()
        self._highest_held = 0
        self.resend = None

    def widened(self) -> Gap | None:
        """Let the open hole reach over what is held, before that is forgotten; return its row if it is another now."""
        gap, end = self.gap, self.missing_to()
        if gap is None or end == gap.seq_to:
            return None
        gap.seq_to = end
        return gap

    def missing_to(self) -> int:
        """Return the highest number that is lost if what is held is forgotten; 0 if no hole is open."""
        return 0 if self.gap is None else max(self.gap.seq_to, self._highest_held)

    def restart(self, expected: int) -> Gap | None:
        """Count anew from `expected`; return the ledger row of a hole that will never close."""
        self.widened()
        gap, self.gap = self.gap, None
        self.disconnect()
        self.expected = expected
        return gap
