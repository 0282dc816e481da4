"""What a FIX session asks of the application that it carries."""

from typing import Protocol

from connectors.fix.framing import Garbled
from connectors.fix.header import Fault
from connectors.fix.message import Message
from connectors.fix.sequence import Gap


class Application(Protocol):
    """What is carried by the session."""

    def on_logon(self, now_ns: int, *, fresh: bool, expected: int) -> None:
        """Logged on; `fresh` if the numbers began anew, so that from `expected` on nothing can be sent again."""

    def on_message(self, message: Message) -> Fault | None:
        """Take the next application message; return a fault to have it rejected."""

    def on_heartbeat(self, message: Message) -> None:
        """The venue says that it is there, and what time it is."""

    def on_refused(self, message: Message, fault: Fault) -> None:
        """A message was rejected for its form; it counts as received, and is not shown."""

    def on_gap(self, gap: Gap, resolution: str | None, now_ns: int) -> None:
        """A hole was found (no `resolution`), or is over."""

    def on_garbled(self, garbled: Garbled, now_ns: int) -> None:
        """Bytes were skipped."""

    def on_skew(self, offset_ns: int, now_ns: int) -> None:
        """The venue's clock is `offset_ns` ahead of ours, too far to talk."""
