"""Fields -> bytes of a message. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from connectors.fix.constants import SECOND_NS
from connectors.fix.framing import checksum

Pairs = Iterable[tuple[int, str | int]]
"""(tag, value) in the order in which they are to be sent."""

PRECISIONS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def timestamp(ns: int, precision: str = "ms") -> str:
    """Return a UTCTimestamp.

    Example:
        >>> timestamp(1_795_231_397_678_000_000)
        '20261121-03:23:17.678'
    """
    seconds, fraction = divmod(ns, SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d-%H:%M:%S")
    digits = PRECISIONS[precision]
    return f"{text}.{fraction:09d}"[: len(text) + 1 + digits] if digits else text


def encode(begin_string: bytes, msg_type: bytes, header: Pairs, body: Pairs) -> bytes:
    r"""Return a message with its BodyLength and CheckSum. `header` is without 8, 9 and 35.

    Example:
        >>> encode(b"FIX.4.4", b"0", [(34, 2), (49, "A"), (56, "B")], [])
        b'8=FIX.4.4\x019=20\x0135=0\x0134=2\x0149=A\x0156=B\x0110=126\x01'
    """
    fields = "".join([f"{tag}={value}\x01" for pairs in (header, body) for tag, value in pairs])
    content = b"35=%b\x01%b" % (msg_type, fields.encode("utf-8"))
    message = b"8=%b\x019=%d\x01%b" % (begin_string, len(content), content)
    return b"%b10=%03d\x01" % (message, checksum(message))
