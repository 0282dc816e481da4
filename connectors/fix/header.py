"""What every FIX message must say of itself before it is looked at: who speaks to whom, and when. Pure.

Source: FIX 4.4 volume 2 with errata 2003-06-18, scenarios 2 and 14; what QuickFIX's acceptance suite expects of each.
"""

from typing import NamedTuple

from connectors.errors import ValueRefused
from connectors.fix import constants as fix
from connectors.fix.config import SessionConfig
from connectors.fix.message import Message
from connectors.fix.values import parse_recent_time, parse_time

Fault = tuple[int, int]
"""(SessionRejectReason, tag it refers to; 0 if none)."""


class Problem(NamedTuple):
    """What is wrong with a header, and what is done about it."""

    fault: Fault | None
    """To be rejected with; None if the message is not even answered."""
    logout: str = ""
    """The session ends for this reason; '' if it goes on."""
    skew_ns: int = 0
    """How far the venue's clock is ahead of ours, if that is what is wrong."""


class HeaderCheck:
    """The header checks of one session. A message that fails one and ends the session was not consumed."""

    def __init__(self, config: SessionConfig) -> None:
        self._begin_string = config.begin_string.encode()
        self._ours, self._theirs = config.sender.encode(), config.target.encode()

    def problem(self, message: Message, begin_string: bytes, now_ns: int) -> Problem | None:
        """Return what is wrong, or fill in `sending_ns` and `poss_dup` of the message and return None."""
        at, values = message.layout.at, message.values
        if begin_string != self._begin_string:
            said, agreed = begin_string.decode("ascii", "replace"), self._begin_string.decode()
            return Problem(None, f"BeginString {said} is not {agreed}")
        try:
            if values[at[fix.SENDER_COMP_ID]] != self._theirs or values[at[fix.TARGET_COMP_ID]] != self._ours:
                return Problem((fix.COMP_ID_PROBLEM, 0), "CompID problem")
            message.sending_ns = parse_recent_time(values[at[fix.SENDING_TIME]])
        except KeyError as missing:
            return Problem((fix.REQUIRED_TAG_MISSING, int(missing.args[0])))
        except ValueRefused:
            return Problem((fix.BAD_FORMAT, fix.SENDING_TIME))
        offset = message.sending_ns - now_ns
        if not -fix.SENDING_TIME_LIMIT_NS <= offset <= fix.SENDING_TIME_LIMIT_NS:
            return Problem((fix.SENDING_TIME_ACCURACY, fix.SENDING_TIME), "SendingTime accuracy problem", offset)
        if fix.POSS_DUP_FLAG in at and message.flag(fix.POSS_DUP_FLAG):
            message.poss_dup = True
            return _of_duplicate(message)
        return None


def _of_duplicate(message: Message) -> Problem | None:
    original = message.get(fix.ORIG_SENDING_TIME)
    if original is None:
        if message.type == fix.SEQUENCE_RESET:
            return None  # some engines leave it out there
        return Problem((fix.REQUIRED_TAG_MISSING, fix.ORIG_SENDING_TIME))
    try:
        sent_ns = parse_time(original)
    except ValueRefused:
        return Problem((fix.BAD_FORMAT, fix.ORIG_SENDING_TIME))
    if sent_ns > message.sending_ns:
        return Problem((fix.SENDING_TIME_ACCURACY, fix.ORIG_SENDING_TIME), "OrigSendingTime is after SendingTime")
    return None
