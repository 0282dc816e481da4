"""Rows of an MCX session that are no ticks: the broker's messages, beside what connectors/ledger.py writes. Pure."""

from typing import Final

from connectors.ledger import Gap as Gap
from connectors.ledger import Ledger as CommonLedger
from connectors.ledger import OpenGaps as OpenGaps
from connectors.mcx.constants import FEED, MIC
from connectors.mcx.packets import Broken, Text
from connectors.ticks import RAW_CHARACTERS, FeedOutput

_UNKNOWN_MAX: Final = 1_000  # a hostile venue must not grow the set
ALL: Final = "ticks"
"""The channel of a gap that is not of one instrument."""


class Ledger(CommonLedger):
    """Write what was not straight through."""

    def __init__(self, output: FeedOutput, broker: str) -> None:
        super().__init__(output, MIC, f"{FEED}/{broker}")
        self._unknown: set[int] = set()

    def text(self, message: Text, now_ns: int) -> None:
        """Surface a text: what the broker tells its customers is news, an error is a reason of the session's state."""
        if message.kind == "message":
            self._rows += 1
            self._output.news.append(
                news_id=f"{self._source}/{now_ns}/{self._rows}",
                venue=MIC,
                ts_event=now_ns,
                ts_recv=now_ns,
                headline=message.text[:200],
                body=message.text[:RAW_CHARACTERS],
                topics="broker",
                instruments="",
                urgency=1,
            )
        elif message.kind == "error":
            self.venue(self._venue[0] or "LIVE", f"broker error: {message.text[:200]}", now_ns)
        else:
            detail = f"a text message of type {message.kind}"
            self.rejected(None, "unsupported_message", detail, message.text, now_ns)

    def broken(self, part: Broken, now_ns: int) -> None:
        """Write bytes that are no packet."""
        self.rejected(None, part.reason, part.detail, part.raw.hex(), now_ns)

    def unknown(self, token: int, now_ns: int) -> None:
        """Write that a token is no instrument: once, for its packets are states of the same thing."""
        if token not in self._unknown and len(self._unknown) < _UNKNOWN_MAX:
            self._unknown.add(token)
            self.rejected(None, "unknown_instrument", f"token {token}", token, now_ns)
