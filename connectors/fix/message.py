"""A received message: its layout, its values, and where it stands in the session."""

from connectors.fix.fields import Layout


class Message:
    """One message as received; values are bytes. Not a dataclass: a hundred thousand are made a second."""

    __slots__ = ("layout", "poss_dup", "sending_ns", "seq", "stamp_ns", "type", "values")

    def __init__(self, layout: Layout, values: list[bytes], seq: int, stamp_ns: int) -> None:
        self.layout, self.values, self.seq, self.stamp_ns = layout, values, seq, stamp_ns
        self.type = layout.msg_type
        self.sending_ns = 0
        self.poss_dup = False

    def get(self, tag: int) -> bytes | None:
        """Return the value of a field outside groups."""
        at = self.layout.at.get(tag)
        return None if at is None else self.values[at]

    def text(self, tag: int) -> str:
        """Return a value as text; empty if the field is absent."""
        return (self.get(tag) or b"").decode("utf-8", "replace")

    def flag(self, tag: int) -> bool:
        """Whether a Boolean field is Y."""
        return self.get(tag) == b"Y"
