"""The outgoing side of a session: our numbers, what is to be written, what can be sent again. Pure.

What the application sent on this connection is resent when the venue asks; what is older, and all administrative
messages, are passed over by a gap fill: a request of before would be answered out of place.
"""

from connectors.fix import constants as fix
from connectors.fix.config import SessionConfig
from connectors.fix.encoding import encode, timestamp

Body = list[tuple[int, str | int]]
"""Fields of a message without header and trailer, as (tag, value)."""


class Outgoing:
    """Numbers and encodes messages. State: at most SENT_MESSAGES bodies of this connection."""

    def __init__(self, config: SessionConfig, following: int) -> None:
        self._config = config
        self._begin_string = config.begin_string.encode()
        self.following = following
        """The number of the next message."""
        self.sent_ns = 0
        """When something was sent last."""
        self._box: list[bytes] = []
        self._sent: dict[int, tuple[bytes, Body, int]] = {}  # type, body and time, by number

    def reserved(self) -> int:
        """Return a number past any we will have sent before this one is asked for again."""
        return (self.following // fix.OUT_BLOCK + 2) * fix.OUT_BLOCK

    def connect(self, now_ns: int) -> None:
        """A new connection: nothing of the old one is written or resent on it."""
        self._box.clear()
        self._sent.clear()
        self.sent_ns = now_ns

    def restart(self) -> None:
        """Count from 1 again."""
        self.following = 1
        self._sent.clear()

    def take(self) -> list[bytes]:
        """Take out what is to be written, in order."""
        messages, self._box = self._box, []
        return messages

    def send(self, msg_type: bytes, body: Body, now_ns: int) -> int:
        """Send a message under our next number, and return that."""
        seq = self.following
        self.following += 1
        if msg_type not in fix.ADMIN and len(self._sent) < fix.SENT_MESSAGES:
            self._sent[seq] = (msg_type, body, now_ns)
        self._put(msg_type, seq, body, now_ns)
        return seq

    def resend(self, first: int, last: int, now_ns: int) -> None:
        """Answer a ResendRequest; `last` 0 means all there is."""
        following = self.following if last == 0 else min(last + 1, self.following)
        if first < 1:
            return
        for seq in [seq for seq in sorted(self._sent) if first <= seq < following]:
            msg_type, body, sent_ns = self._sent[seq]
            self._fill(first, seq, now_ns)
            self._put(msg_type, seq, body, now_ns, original_ns=sent_ns)
            first = seq + 1
        self._fill(first, following, now_ns)

    def _fill(self, first: int, following: int, now_ns: int) -> None:
        if first < following:
            body: Body = [(fix.GAP_FILL_FLAG, "Y"), (fix.NEW_SEQ_NO, following)]
            self._put(fix.SEQUENCE_RESET, first, body, now_ns, original_ns=now_ns)

    def _put(self, msg_type: bytes, seq: int, body: Body, now_ns: int, *, original_ns: int | None = None) -> None:
        precision = self._config.precision
        header: Body = [
            (fix.SENDER_COMP_ID, self._config.sender),
            (fix.TARGET_COMP_ID, self._config.target),
            (fix.MSG_SEQ_NUM, seq),
        ]
        if original_ns is not None:
            header.append((fix.POSS_DUP_FLAG, "Y"))
        header.append((fix.SENDING_TIME, timestamp(now_ns, precision)))
        if original_ns is not None:
            header.append((fix.ORIG_SENDING_TIME, timestamp(original_ns, precision)))
        self.sent_ns = now_ns
        self._box.append(encode(self._begin_string, msg_type, header, body))
