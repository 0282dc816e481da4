"""The sequence of one channel: what is next, what is held back, which hole is open. Pure; knows no messages.

last      everything up to here was applied (or given up, with a row in the ledger)
held      messages past a hole, by sequence number
highest   the newest number the venue told us of, by a message, a heartbeat or at log-on
gap       the ledger row of the hole right after `last`, while it is open
request   the replay that is under way for it
"""

from dataclasses import dataclass, field
from typing import Any

from connectors.ice.codec import Sequenced
from connectors.ice.constants import BRIDGED_ROWS, HELD_ROWS, REPLAY_ROWS


@dataclass(slots=True, kw_only=True)
class Gap:
    """A hole as the ledger knows it; written when found, again when resolved."""

    session: str
    channel: str
    seq_from: int
    seq_to: int
    ts_detected: int
    reason: str
    recovered: int = 0

    def fields(self, *, imaging: bool) -> list[object]:
        """Return the gap as JSON values, for the session's positions; `imaging` if it waits for images."""
        values = (self.session, self.channel, self.seq_from, self.seq_to, self.ts_detected, self.reason)
        return [*values, self.recovered, imaging]

    @staticmethod
    def of(fields: list[Any]) -> "tuple[Gap, bool]":
        """Return the gap of `fields`, and whether it waits for images."""
        session, channel, seq_from, seq_to, ts_detected, reason, recovered, imaging = fields
        gap = Gap(
            session=session,
            channel=channel,
            seq_from=seq_from,
            seq_to=seq_to,
            ts_detected=ts_detected,
            reason=reason,
            recovered=recovered,
        )
        return gap, imaging


@dataclass(slots=True, kw_only=True)
class Request:
    """A replay under way. `deadline_ns` moves with every message that comes of it."""

    id: int
    first: int
    last: int
    image: bool
    deadline_ns: int
    attempt: int = 1


@dataclass(slots=True)
class Channel:
    """Where one channel of the session stands.

    State: at most HELD_ROWS messages held back; those that do not fit are replayed later.
    """

    name: str
    last: int = 0
    highest: int = 0
    held: dict[int, tuple[Sequenced, int]] = field(default_factory=dict)
    gap: Gap | None = None
    request: Request | None = None
    needs_image: bool = False
    """The books at `last` are not in memory: nothing is applied before a replay brought their image."""
    known: bool = False
    """The venue told where the channel stands in this session."""

    def hold(self, message: Sequenced, now_ns: int) -> bool:
        """Keep a message for later; False if the buffer is full."""
        self.highest = max(self.highest, message.seq)
        if len(self.held) >= HELD_ROWS:
            return False
        self.held.setdefault(message.seq, (message, now_ns))
        return True

    def next_held(self) -> tuple[Sequenced, int] | None:
        """Take the message after `last` out of the buffer, if it is there and may be applied."""
        return None if self.needs_image or not self.held else self.held.pop(self.last + 1, None)

    def missing_end(self) -> int:
        """Last number of the first hole; `last` if there is none."""
        if self.needs_image or not self.held:
            return self.highest
        return min(self.held) - 1

    def ask(self, request_id: int, deadline_ns: int) -> tuple[int, int]:
        """Start a request for the first hole, or its first part, with those right behind it; return its range."""
        first, last = self.last + 1, self._bridged_end()
        self.request = Request(id=request_id, first=first, last=last, image=self.needs_image, deadline_ns=deadline_ns)
        return first, last

    # Last number of the holes that lie close together, the first one's if the next is further off.
    def _bridged_end(self) -> int:
        last, limit = self.missing_end(), min(self.highest, self.last + REPLAY_ROWS)
        for seq in range(last + 1, limit + 1):
            if seq not in self.held:
                last = seq
            elif seq - last > BRIDGED_ROWS:
                break
        return min(last, limit)

    def skip_to(self, seq: int) -> None:
        """Give up everything up to `seq`."""
        self.last = max(self.last, seq)
        self.highest = max(self.highest, self.last)
        self.request, self.needs_image = None, False
        self.held = {held: entry for held, entry in self.held.items() if held > self.last}

    def widened(self) -> Gap | None:
        """Let the open hole reach over what is held, before that is forgotten; return its row if it is another now."""
        gap = self.gap
        if gap is None or self.highest <= gap.seq_to:
            return None
        gap.seq_to = self.highest
        return gap

    def disconnect(self) -> None:
        """Forget what belongs to the socket. What was held back will be replayed."""
        self.held.clear()
        self.request = None

    def restart(self, seq: int) -> None:
        """Begin a session: the venue counts anew."""
        self.disconnect()
        self.last = self.highest = seq
        self.needs_image = self.known = False
        self.gap = None
