"""Tags, enumerations and limits of FIX market data. Source: FIX 4.4 and 5.0 SP2; limits are our choice."""

from typing import Final

VENUE: Final = "cme"
FEED: Final = "CME"
"""The feed as a whole, in GAPS.venue and REJECTED.venue: one session carries several MICs."""

PRODUCTS: Final = (
    ("XCEC", "GC"),
    ("XCEC", "SI"),
    ("XCEC", "HG"),
    ("XNYM", "CL"),
    ("XNYM", "NG"),
    ("XCBT", "ZW"),
    ("XCBT", "ZC"),
    ("XCBT", "ZS"),
)

MARKET_DATA_REQUEST: Final = b"V"
SNAPSHOT: Final = b"W"
INCREMENTAL: Final = b"X"
REQUEST_REJECT: Final = b"Y"
SECURITY_STATUS_REQUEST: Final = b"e"
SECURITY_STATUS: Final = b"f"
SESSION_STATUS_REQUEST: Final = b"g"
SESSION_STATUS: Final = b"h"

BID: Final = b"0"
OFFER: Final = b"1"
TRADE: Final = b"2"
EMPTY_BOOK: Final = b"J"

NEW: Final = b"0"
CHANGE: Final = b"1"
DELETE: Final = b"2"
DELETE_THRU: Final = b"3"
DELETE_FROM: Final = b"4"
OVERLAY: Final = b"5"
ACTIONS: Final = frozenset((NEW, CHANGE, DELETE, DELETE_THRU, DELETE_FROM, OVERLAY))

OTHER_ENTRY_TYPES: Final = frozenset(
    b"3 4 5 6 7 8 9 A B C D E F G H K L M N O P Q R S T U V W X Y Z a b c d e f g".split()
)
"""Known, and no row of ours: index, open, settlement, volume and so on. A type in neither set is refused."""

TRADE_CANCELLED: Final = b"0"  # in TradeCondition (277)
TRADE_ADJUSTED: Final = b"y"

DUPLICATE_REQUEST: Final = b"1"  # of MDReqRejReason (281)

TRADING: Final = "trading"
QUALITY_BY_TRADING_STATUS: Final = {
    b"2": ("HALTED", "halt"),
    b"3": ("LIVE", "open"),
    b"4": ("HALTED", "no_open"),
    b"5": ("CLOSED", "price_indication"),
    b"17": ("LIVE", "open"),
    b"18": ("CLOSED", "not_available"),
    b"19": ("CLOSED", "not_traded"),
    b"20": ("STALE", "unknown"),
    b"21": ("CLOSED", "preopen"),  # its prices are indicative
    b"22": ("CLOSED", "opening_rotation"),
    b"23": ("LIVE", "fast_market"),
    b"24": ("HALTED", "pre_cross"),
    b"25": ("HALTED", "cross"),
    b"26": ("CLOSED", "close"),
    b"27": ("CLOSED", "no_cancel"),
}
"""SecurityTradingStatus (326)."""

QUALITY_BY_SESSION_STATUS: Final = {
    b"1": ("HALTED", "halt"),
    b"2": ("LIVE", "open"),
    b"3": ("CLOSED", "close"),
    b"4": ("CLOSED", "preopen"),
    b"5": ("LIVE", "preclose"),
    b"6": ("CLOSED", "rejected"),
}
"""TradSesStatus (340)."""

DEPTH_LEVELS: Final = 10
SECOND_NS: Final = 1_000_000_000
ANSWER_TIMEOUT_NS: Final = 5 * SECOND_NS  # of a request for market data
IMAGE_TIMEOUT_NS: Final = 3 * SECOND_NS
IMAGE_PAUSE_NS: Final = 30 * SECOND_NS  # between tries once an instrument's image stayed away
ATTEMPTS: Final = 3
PENDING_CHANGES: Final = 10_000  # kept for an instrument that waits for its image
ODD_CHANGES: Final = 3  # New where there is something already, since the last image; the book is distrusted then
CROSSED_HOLD_NS: Final = SECOND_NS // 2  # a book that stays crossed for so long while it trades is wrong
CLOCK_LAG_NS: Final = SECOND_NS  # an entry is not told later than this after it happened, while in sequence
CLOCK_EVERY_NS: Final = SECOND_NS
