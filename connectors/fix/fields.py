"""The fields of a message, found without looking at each: messages with the same tags share one `Layout`. Pure.

A feed sends thousands of messages with the same tags in the same order. What can be known from the tags (where a
field is, where groups begin and end, what is not allowed) is worked out once for each such shape and kept; a message
then costs one split, one look-up and the conversion of the values that are wanted.

Values are bytes as they came.
"""

from collections.abc import Sequence
from typing import Final

from connectors.errors import DecodeError
from connectors.fix.constants import (
    DUPLICATE_TAG,
    GROUP_COUNT,
    GROUP_OUT_OF_ORDER,
    INVALID_TAG,
    NO_VALUE,
    REQUIRED_TAG_MISSING,
    SOH,
    TAG_NOT_DEFINED,
    TAG_OUT_OF_ORDER,
)
from connectors.fix.dictionary import (
    DATA_BY_LENGTH,
    FIRST_USER_TAG,
    HEADER,
    HEADER_REQUIRED,
    HIGHEST_TAG,
    MESSAGES,
    TRAILER,
    GroupSpec,
    MessageSpec,
)

LAYOUTS_MAX: Final = 4_096
"""Shapes kept; a hostile venue must not grow the table. A real one has some dozen."""

FIELDS_MAX: Final = 20_000  # of one message; 64 KiB hold no more

Entry = dict[int, int]
"""Tag -> position of its value, of one entry of a group."""


class Layout:
    """What all messages with these tags in this order have in common.

    `fault` is (SessionRejectReason, tag) if no such message is allowed. `plan` is for the owner of the message type:
    what it worked out about the layout, kept with it.
    """

    __slots__ = ("at", "counts", "fault", "groups", "msg_type", "plan", "tags")

    def __init__(self, msg_type: bytes, tags: tuple[int, ...]) -> None:
        self.msg_type, self.tags = msg_type, tags
        self.at: dict[int, int] = {}
        """Tag -> position of its value, outside groups."""
        self.groups: dict[int, list[Entry]] = {}
        """Count tag -> the entries of a top-level group."""
        self.counts: list[tuple[int, int, bytes]] = []
        """(position, tag, number of entries that follow) of each count field, nested ones too."""
        self.fault: tuple[int, int] | None = None
        self.plan: object | None = None
        try:
            self._walk(MESSAGES.get(msg_type) or MessageSpec(frozenset()), known=msg_type in MESSAGES)
        except _Fault as fault:
            self.fault = (fault.reason, fault.tag)

    def get(self, values: Sequence[bytes], tag: int) -> bytes | None:
        """Return the value of a field outside groups."""
        at = self.at.get(tag)
        return None if at is None else values[at]

    def check(self, values: Sequence[bytes]) -> tuple[int, int] | None:
        """Return the fault of a message of this layout, as (SessionRejectReason, tag)."""
        if self.fault is not None:
            return self.fault
        if b"" in values:
            return NO_VALUE, self.tags[values.index(b"")]
        for at, tag, entries in self.counts:
            if values[at] != entries and values[at].lstrip(b"0") != entries.lstrip(b"0"):
                return GROUP_COUNT, tag
        return None

    # Fields outside the message's specification stay readable (`at`), so that a reject can name what it refers to.
    def _walk(self, spec: MessageSpec, *, known: bool) -> None:
        position, body, fault = 0, False, None
        while position < len(self.tags):
            tag = self.tags[position]
            if tag in self.at:
                fault = fault or _Fault(DUPLICATE_TAG, tag)
            elif tag in HEADER:
                fault = fault or (_Fault(TAG_OUT_OF_ORDER, tag) if body else None)
            else:
                body = True
                if known and tag not in spec.fields and tag not in spec.groups and tag not in TRAILER:
                    fault = fault or _undefined(tag)
            self.at.setdefault(tag, position)
            if tag in spec.groups and body:
                self.groups[tag] = []
                try:
                    position = self._group(position, spec.groups[tag], self.groups[tag])
                except _Fault as found:
                    fault = fault or found
                    position += 1
            else:
                position += 1
        missing = next((tag for tag in (*HEADER_REQUIRED, *spec.required) if tag not in self.at), None)
        if missing is not None:
            raise _Fault(REQUIRED_TAG_MISSING, missing)
        if fault is not None:
            raise fault

    # Entries begin with their first field; the group ends at a field that is none of its own. Returns that position.
    def _group(self, position: int, spec: GroupSpec, entries: list[Entry]) -> int:
        count_at, count_tag = position, self.tags[position]
        position += 1
        while position < len(self.tags):
            tag = self.tags[position]
            if tag == spec.delimiter:
                entries.append({})
            elif tag not in spec.fields and tag not in spec.groups and tag < FIRST_USER_TAG:
                break
            elif not entries:
                raise _Fault(GROUP_OUT_OF_ORDER, tag)
            elif tag in entries[-1]:
                raise _Fault(DUPLICATE_TAG, tag)
            entries[-1][tag] = position
            if tag in spec.groups:
                position = self._group(position, spec.groups[tag], [])
            else:
                position += 1
        self.counts.append((count_at, count_tag, b"%d" % len(entries)))
        return position


class _Fault(Exception):
    def __init__(self, reason: int, tag: int) -> None:
        self.reason, self.tag = reason, tag


def _undefined(tag: int) -> "_Fault | None":
    if tag >= FIRST_USER_TAG:
        return None
    return _Fault(TAG_NOT_DEFINED if 0 < tag <= HIGHEST_TAG else INVALID_TAG, tag)


class Fields:
    """Split message bodies and find their layouts.

    State: at most LAYOUTS_MAX layouts, some kB each.
    """

    def __init__(self) -> None:
        self._layouts: dict[tuple[bytes, ...], Layout | None] = {}

    def split(self, body: bytes) -> tuple[Layout, list[bytes]]:
        """Return the layout and the values of a body that begins with `35=` and ends with SOH.

        Raises: DecodeError if it is no sequence of fields.
        """
        if not body.endswith(SOH):
            raise DecodeError("malformed_frame", "the last field has no end")
        if 0 < body.count(b"=") == body.count(SOH):
            flat = body[:-1].replace(b"=", SOH).split(SOH)
            values = flat[1::2]
            layout = self._layouts.get((values[0], *flat[::2]))
            if layout is not None:
                return layout, values
        return self._split_slowly(body)

    # One field after the other: a new shape, or one with a value that may hold any byte.
    def _split_slowly(self, body: bytes) -> tuple[Layout, list[bytes]]:
        tags: list[int] = []
        values: list[bytes] = []
        at = length = 0
        while at < len(body):
            equals = body.find(b"=", at)
            tag = _tag(body[at:equals] if equals > at else b"")
            start = equals + 1
            if tags and DATA_BY_LENGTH.get(tags[-1]) == tag:
                stop = start + _length(values[-1])
            else:
                stop = body.find(SOH, start)
            if stop < 0 or body[stop : stop + 1] != SOH:
                raise DecodeError("malformed_frame", f"the value of tag {tag} has no end")
            tags.append(tag)
            values.append(body[start:stop])
            at = stop + 1
            length += 1
            if length > FIELDS_MAX:
                raise DecodeError("malformed_frame", f"more than {FIELDS_MAX} fields")
        if not tags or tags[0] != 35:
            raise DecodeError("malformed_frame", "MsgType is not the first field")
        return self._learn(tags, values), values

    def _learn(self, tags: list[int], values: list[bytes]) -> Layout:
        layout = Layout(values[0], tuple(tags))
        if DATA_BY_LENGTH.keys().isdisjoint(tags):
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            self._layouts[(values[0], *(b"%d" % tag for tag in tags))] = layout
        return layout


def _tag(text: bytes) -> int:
    if text.isdigit() and len(text) <= 6 and not text.startswith(b"0"):
        return int(text)
    raise DecodeError("malformed_frame", f"tag {text[:20]!r}")


def _length(text: bytes) -> int:
    if text.isdigit() and len(text) <= 6:
        return int(text)
    raise DecodeError("malformed_frame", f"length {text[:20]!r}")
