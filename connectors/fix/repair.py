"""The repair of holes in the venue's numbers: asked for, and told to the application at both ends. Pure.

Which numbers are missing is in connectors/fix/sequence.py; here is what is done about it.
Source: FIX 4.4 volume 2 with errata 2003-06-18, "Ordered message processing" and ResendRequest.
"""

from collections import Counter

from connectors.fix import constants as fix
from connectors.fix.application import Application
from connectors.fix.outgoing import Body, Outgoing
from connectors.fix.sequence import Gap, Incoming


class Repair:
    """Has holes filled, over as many connections as it takes. State: that of `incoming`."""

    def __init__(
        self, incoming: Incoming, outgoing: Outgoing, application: Application, counters: Counter[str]
    ) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._application, self._counters = application, counters
        self.unanswered = 0
        """Connections in a row that were given up for a ResendRequest without an answer."""

    def found(self, seq: int, reason: str, now_ns: int) -> None:
        """Message `seq` is there, and those from `expected` on are not: tell so, and ask for them."""
        gap = self._incoming.open_gap(seq, now_ns, reason)
        if gap is not None:
            self._counters["gaps"] += 1
            self._application.on_gap(gap, None, now_ns)
        self._ask(seq, now_ns)

    def is_late(self, now_ns: int) -> bool:
        """Whether a request was not answered in time."""
        resend = self._incoming.resend
        return resend is not None and now_ns >= resend.deadline_ns

    def ask_again(self, now_ns: int) -> bool:
        """Repeat the request that is late; False if it was repeated often enough."""
        late = self._incoming.resend
        assert late is not None
        if late.attempt >= fix.RESEND_ATTEMPTS:
            self.unanswered += 1
            return False
        self._incoming.resend = None
        self._ask(late.until, now_ns, late.attempt + 1)
        return True

    def _ask(self, until: int, now_ns: int, attempt: int = 1) -> None:
        if self._incoming.ask(until, now_ns, attempt):
            body: Body = [(fix.BEGIN_SEQ_NO, self._incoming.expected), (fix.END_SEQ_NO, 0)]
            self._outgoing.send(fix.RESEND_REQUEST, body, now_ns)

    def progressed(self, now_ns: int) -> None:
        """`expected` moved on: the hole may be filled."""
        gap = self._incoming.progressed(now_ns)
        if gap is not None:
            self.unanswered = 0
            self._application.on_gap(gap, "replay", now_ns)

    def give_up(self, end: int, now_ns: int) -> Gap:
        """The venue will not send what is missing up to `end`. Return the hole, for `over` once that is passed."""
        incoming = self._incoming
        gap = incoming.gap or Gap(seq_from=incoming.expected, seq_to=0, ts_detected=now_ns, reason="")
        gap.seq_to, gap.reason, incoming.gap = end, "sequence_reset", None
        return gap

    def disconnect(self, now_ns: int) -> None:
        """The socket is gone, and with it what was held back: that is missing, too."""
        gap = self._incoming.widened()
        if gap is not None:
            self._application.on_gap(gap, None, now_ns)
        self._incoming.disconnect()

    def restart(self, expected: int, now_ns: int) -> None:
        """The venue counts anew, from `expected`: an open hole will never close."""
        gap = self._incoming.restart(expected)
        if gap is not None:
            gap.reason = "session_reset"
            self._application.on_gap(gap, "snapshot", now_ns)
