"""Which fields a message may have and must have, which of them repeat, and which may hold any byte. Data only.

Only messages that a market data client can receive are here. Source: FIX 4.4 specification; FIX 5.0 SP2 for the
extensions that vendors use on a 4.4 wire.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A repeating group: the field every entry begins with, the fields it may have, groups inside it by count tag."""

    delimiter: int
    fields: frozenset[int]
    groups: "dict[int, GroupSpec]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """A message: its fields without header and trailer, those it must have, its groups by count tag."""

    fields: frozenset[int]
    required: tuple[int, ...] = ()
    groups: dict[int, GroupSpec] = field(default_factory=dict)


def _tags(text: str) -> frozenset[int]:
    tags: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        tags.update(range(int(first), int(last or first) + 1))
    return frozenset(tags)


DATA_BY_LENGTH: Final = {
    90: 91, 93: 89, 95: 96, 212: 213, 348: 349, 350: 351, 352: 353, 354: 355, 356: 357, 358: 359, 360: 361,
    362: 363, 364: 365, 445: 446, 618: 619, 621: 622,
}  # fmt: skip
"""Length field -> the field right after it, whose value is that many bytes and may contain SOH and `=`."""

HEADER: Final = _tags(
    "34-35 43 49-50 52 56-57 90-91 97 115-116 122 128-129 142-145 212-213 347 369 1128-1129 1156"
)  # fmt: skip
HEADER_REQUIRED: Final = (49, 56, 34, 52)
TRAILER: Final = _tags("89 93")
HIGHEST_TAG: Final = 956  # of FIX 4.4; from 5000 on tags are a vendor's own
FIRST_USER_TAG: Final = 5000

_TEXT: Final = _tags("58 354-355")
_PARTY_IDS: Final = GroupSpec(448, _tags("447-448 452"))
_INSTRUMENT: Final = _tags(
    "22 48 55 65 106-107 167 200 202 205-207 223-228 231 239-240 255 348-351 460-461 470-472 541 543 667 691 762 "
    "873-876 947"
)
_INSTRUMENT_GROUPS: Final = {
    454: GroupSpec(455, _tags("455-456")),
    864: GroupSpec(865, _tags("865-868")),
}
_ENTRY: Final = _tags(
    "15 18 37 58 59 110 126 198 269-277 282-284 286-288 290 292 299 326-327 332-333 336 346 354-355 432 625 "
    "60 811 1020-1021 1023 1500 1003 2446 83"
)
_INCREMENTAL_ENTRY: Final = _ENTRY | _INSTRUMENT | _tags("278-280 285 291 387 423 428 451 811")

MESSAGES: Final = {
    b"0": MessageSpec(_tags("112")),
    b"1": MessageSpec(_tags("112"), (112,)),
    b"2": MessageSpec(_tags("7 16"), (7, 16)),
    b"3": MessageSpec(_tags("45 371-373") | _TEXT, (45,)),
    b"4": MessageSpec(_tags("36 123"), (36,)),
    b"5": MessageSpec(_TEXT),
    b"A": MessageSpec(
        _tags("95-96 98 108 141 383 464 553-554 789 1137 1407-1408") | _TEXT,
        (98, 108),
        {384: GroupSpec(372, _tags("372 385"))},
    ),
    b"j": MessageSpec(_tags("45 372 379-380") | _TEXT, (372, 380)),
    b"W": MessageSpec(
        _INSTRUMENT | _tags("60 75 83 262 291-292 326-327 451 762 813 1021 1500") | _TEXT,
        (268,),
        {268: GroupSpec(269, _ENTRY | _tags("278 280")), **_INSTRUMENT_GROUPS},
    ),
    b"X": MessageSpec(
        _tags("60 75 83 262 813 1021 1500") | _TEXT,
        (268,),
        {268: GroupSpec(279, _INCREMENTAL_ENTRY, _INSTRUMENT_GROUPS)},
    ),
    b"Y": MessageSpec(_tags("262 281") | _TEXT, (262,), {816: GroupSpec(817, _tags("817"))}),
    b"f": MessageSpec(
        _INSTRUMENT | _tags("15 31 60 291-292 324-334 336 625") | _TEXT, (), dict(_INSTRUMENT_GROUPS)
    ),
    b"h": MessageSpec(_tags("325 335-336 338-345 387 567 625 60") | _TEXT, (336, 340)),
}  # fmt: skip

# Types of FIX 4.4 that a market data client has no use for: known, and refused as unsupported.
UNSUPPORTED: Final = frozenset(
    [bytes([code]) for code in b"6789BCDEFGHJKLMNPQRSTVZabcdegiklmnopqrstuvwxyz"]
    + [b"A" + bytes([code]) for code in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    + [b"B" + bytes([code]) for code in b"ABCDEFGH"]
)
