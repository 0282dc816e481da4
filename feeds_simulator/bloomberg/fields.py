"""Names and types of what `//blp/mktdata` and the news service send, as their schemas would say.

Source: Bloomberg field mnemonics; blpapi documentation (python 3.26), Core Developer Guide 1.6 (2016-08-30).
The news service and its fields are ours: Bloomberg publishes none without a contract (docs/venues.md).
"""

from typing import Final

MKTDATA: Final = "//blp/mktdata"
NEWS: Final = "//blp/newsheadlines"
SERVICES: Final = (MKTDATA, NEWS)

# Values of DataType in the SDK.
BOOL: Final = 1
INT32: Final = 4
INT64: Final = 5
FLOAT64: Final = 7
STRING: Final = 8
DATETIME: Final = 13
ENUMERATION: Final = 14

TYPES: Final = {
    "MKTDATA_EVENT_TYPE": ENUMERATION,
    "MKTDATA_EVENT_SUBTYPE": ENUMERATION,
    "BID": FLOAT64,
    "ASK": FLOAT64,
    "LAST_PRICE": FLOAT64,
    "EVT_TRADE_PRICE_RT": FLOAT64,
    "PX_SETTLE": FLOAT64,
    "BID_SIZE": INT32,
    "ASK_SIZE": INT32,
    "SIZE_LAST_TRADE": INT32,
    "EVT_TRADE_SIZE_RT": INT32,
    "VOLUME": INT64,
    "BID_UPDATE_STAMP_RT": DATETIME,
    "ASK_UPDATE_STAMP_RT": DATETIME,
    "TRADE_UPDATE_STAMP_RT": DATETIME,
    "EVT_TRADE_CANCEL_TIME_RT": DATETIME,
    "EVT_TRADE_CORRECT_TIME_RT": DATETIME,
    "EVT_TRADE_IDENTIFIER_RT": STRING,
    "EVT_TRADE_ORIGINAL_IDENTIFIER_RT": STRING,
    "EVT_TRADE_ACTION_REALTIME": STRING,
    "EVT_TRADE_AGGRESSOR_RT": STRING,
    "RT_SIMP_SEC_STATUS": STRING,
    "IS_DELAYED_STREAM": BOOL,
    "EID": INT32,
    "STORY_ID": STRING,
    "STORY_TIME_RT": DATETIME,
    "HEADLINE": STRING,
    "BODY": STRING,
    "TOPIC_CODES": STRING,
    "TICKERS": STRING,
    "URGENCY": INT32,
}
"""Every field a subscription may ask for; another one is a BAD_FLD exception of it."""

ALWAYS: Final = ("MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE", "IS_DELAYED_STREAM")
"""Sent whether asked for or not, as the market data service does."""

# MKTDATA_EVENT_TYPE and its subtypes.
SUMMARY: Final = "SUMMARY"
QUOTE: Final = "QUOTE"
TRADE: Final = "TRADE"
INITPAINT: Final = "INITPAINT"
INTRADAY: Final = "INTRADAY"
DATALOSS: Final = "DATALOSS"

# Event types of the SDK.
ADMIN: Final = 1
SESSION_STATUS: Final = 2
SUBSCRIPTION_STATUS: Final = 3
SUBSCRIPTION_DATA: Final = 8
SERVICE_STATUS: Final = 9
TIMEOUT: Final = 10
