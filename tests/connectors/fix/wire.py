"""FIX on the wire for tests, written apart from connectors/fix: the venue's side, and a desk that talks to it.

`fix("35=0|34=2")` gives a message with header, BodyLength and CheckSum; | stands for SOH.
"""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.fix.config import SessionConfig
from connectors.fix.framing import Garbled
from connectors.fix.message import Message
from connectors.fix.sequence import Gap
from connectors.fix.session import FixSession

T0 = 1_795_231_397_000_000_000  # 2026-11-21 03:23:17 UTC
SECOND = 1_000_000_000


def stamp(ns: int = T0) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)).strftime("%Y%m%d-%H:%M:%S.%f")[:-3]


def seal(content: str | bytes, begin: str = "FIX.4.4") -> bytes:
    """Wrap fields from 35= on into a message."""
    body = content.replace("|", "\x01").encode() if isinstance(content, str) else content
    head = f"8={begin}\x019={len(body)}\x01".encode()
    return head + body + f"10={sum(head + body) % 256:03d}\x01".encode()


def fix(
    text: str, *, sender: str = "CME", target: str = "MANDI", at: int = T0, header: str = "", begin: str = "FIX.4.4"
) -> bytes:
    """Build a message from `35=..|34=..|body`; the rest of the header is put in behind 34."""
    kind, seq, *rest = text.split("|", 2)
    fields = [
        kind,
        f"49={sender}",
        f"56={target}",
        seq,
        *filter(None, [header]),
        f"52={stamp(at)}",
        *filter(None, rest),
    ]
    return seal("|".join(field.strip("|") for field in fields) + "|", begin)


def fields(message: bytes) -> dict[str, str]:
    """Read a message that has no repeating group that matters."""
    return dict(part.split("=", 1) for part in message.decode().split("\x01") if part)


def shown(message: bytes) -> str:
    """A message as text, without what every one has: 8, 9, 49, 52, 56, 10."""
    return re.sub(r"\b(8|9|49|52|56|10|122)=[^|]*\|", "", message.decode().replace("\x01", "|"))


class Desk:
    """A FixSession and what it said; its application keeps a list."""

    def __init__(self, resume: dict[str, Any] | None = None, **options: Any) -> None:
        self.counters: Counter[str] = Counter()
        self.messages: list[Message] = []
        self.refused: list[tuple[int, int, int]] = []
        self.gaps: list[tuple[int, int, str | None]] = []
        self.garbled: list[Garbled] = []
        self.logons: list[bool] = []
        self.skews: list[int] = []
        self.fault: tuple[int, int] | None = None
        self.now = T0
        config = SessionConfig(sender="MANDI", target="CME", username="u", password="p", **options)
        self.session = FixSession(config, self, self.counters, resume)
        self.sent: list[str] = []

    # ---- the application

    def on_logon(self, now_ns: int, *, fresh: bool, expected: int) -> None:  # noqa: ARG002
        self.logons.append(fresh)

    def on_message(self, message: Message) -> tuple[int, int] | None:
        self.messages.append(message)
        return self.fault

    def on_heartbeat(self, message: Message) -> None:
        self.messages.append(message)

    def on_refused(self, message: Message, fault: tuple[int, int]) -> None:
        self.refused.append((message.seq, *fault))

    def on_gap(self, gap: Gap, resolution: str | None, now_ns: int) -> None:  # noqa: ARG002
        self.gaps.append((gap.seq_from, gap.seq_to, resolution))

    def on_garbled(self, garbled: Garbled, now_ns: int) -> None:  # noqa: ARG002
        self.garbled.append(garbled)

    def on_skew(self, offset_ns: int, now_ns: int) -> None:  # noqa: ARG002
        self.skews.append(offset_ns)

    # ---- the conversation

    @property
    def seqs(self) -> list[int]:
        return [message.seq for message in self.messages]

    def open(self) -> str:
        self.session.on_open(self.now)
        return self.answer()

    def take(self, *messages: bytes) -> str:
        """Receive, and return what is said to it."""
        for message in messages:
            self.session.receive(message, self.now)
        return self.answer()

    def answer(self) -> str:
        said = [shown(message) for message in self.session.to_send()]
        self.sent += said
        return " ".join(said)

    def wait(self, seconds: float) -> str:
        self.now += int(seconds * SECOND)
        self.session.on_timer(self.now)
        return self.answer()

    def live(self, **options: Any) -> "Desk":
        """Log on in a new session: the next number of the venue is 2."""
        self.open()
        self.take(fix("35=A|34=1|98=0|108=10|141=Y", at=self.now, **options))
        return self
