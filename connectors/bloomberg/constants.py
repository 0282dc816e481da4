"""Names and limits of the Bloomberg SDK as we use it. Source, where none is named: blpapi documentation, 3.26."""

from typing import Final

FEED: Final = "BBG"
"""The venue of every row: Bloomberg has no MIC of its own, and relays prices of many."""

MKTDATA: Final = "//blp/mktdata"
NEWS_SERVICE: Final = "//blp/newsheadlines"
"""A contract of its own at Bloomberg, whose schema is not public: check names and fields before going live."""
NEWS_TOPIC: Final = f"{NEWS_SERVICE}/topic/ALL"

# Values of Event.eventType().
ADMIN: Final = 1
SESSION_STATUS: Final = 2
SUBSCRIPTION_STATUS: Final = 3
SUBSCRIPTION_DATA: Final = 8
SERVICE_STATUS: Final = 9
TIMEOUT: Final = 10

FIELDS: Final = (
    "BID",
    "ASK",
    "BID_SIZE",
    "ASK_SIZE",
    "BID_UPDATE_STAMP_RT",
    "ASK_UPDATE_STAMP_RT",
    "LAST_PRICE",
    "SIZE_LAST_TRADE",
    "VOLUME",
    "TRADE_UPDATE_STAMP_RT",
    "EVT_TRADE_PRICE_RT",
    "EVT_TRADE_SIZE_RT",
    "EVT_TRADE_IDENTIFIER_RT",
    "EVT_TRADE_ORIGINAL_IDENTIFIER_RT",
    "EVT_TRADE_AGGRESSOR_RT",
    "EVT_TRADE_CANCEL_TIME_RT",
    "EVT_TRADE_CORRECT_TIME_RT",
    "RT_SIMP_SEC_STATUS",
)
"""What is subscribed for every security."""

# Values of MKTDATA_EVENT_TYPE; others are passed over.
SUMMARY: Final = "SUMMARY"
QUOTE: Final = "QUOTE"
TRADE: Final = "TRADE"
INITPAINT: Final = "INITPAINT"
DATALOSS: Final = "DATALOSS"

SECOND_NS: Final = 1_000_000_000
IMAGE_TIMEOUT_NS: Final = 10 * SECOND_NS  # our choice: an image is one round trip to the data centre
RETRY_NS: Final = 5 * SECOND_NS  # our choice; doubles to RETRY_CAP_NS: a refusal must not become a hot loop
RETRY_CAP_NS: Final = 600 * SECOND_NS
CONFLATE_NS: Final = SECOND_NS // 10  # a slow consumer gets so many quotes of an instrument: one in this time
RECENT_TRADES: Final = 1_000  # ids kept per instrument, to know a trade that is sent again
