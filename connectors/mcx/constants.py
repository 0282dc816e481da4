"""Limits, timeouts and names of the MCX feed. Source, where none is named: docs/venues.md, section MCX."""

from typing import Final

MIC: Final = "XIMC"
FEED: Final = "mcx"
"""Names the feed in sources and gap ids; rows carry the MIC."""

SECOND_NS: Final = 1_000_000_000
IST_OFFSET_NS: Final = 19_800 * SECOND_NS  # India has no daylight saving
DAY_NS: Final = 86_400 * SECOND_NS
REPEATED_NS: Final = 1 * SECOND_NS
"""With a leap second, or a clock put back by one, the same second comes twice."""

KITE: Final = "kite"
ANGEL: Final = "angel"
BROKERS: Final = (KITE, ANGEL)

KITE_TOKENS: Final = 3_000  # instruments of one connection
KITE_BATCH: Final = 500  # our choice: tokens in one request; the venue names no limit
QUOTE_BATCH: Final = 200  # venue: 500 a request, but its URL length bites at about 825 symbols
REST_INTERVAL_S: Final = 1.05  # venue: 1 quote request a second, 429 above

ANGEL_TOKENS: Final = 1_000
ANGEL_BATCH: Final = 500
ANGEL_PING_NS: Final = 10 * SECOND_NS  # the official client sends "ping" as text this often

IMAGE_WAIT_NS: Final = 1 * SECOND_NS
"""Our choice: a subscribed instrument that has sent nothing for so long is asked for through REST."""
UNASKED_WAIT_NS: Final = 10 * SECOND_NS
"""Our choice: a broker without REST quotes sends its images at once; what did not come by then has not traded."""
IMAGE_ATTEMPTS: Final = 3  # failed REST requests, after which the next packet is taken as the image
LIMITS_EVERY_NS: Final = 10 * SECOND_NS
"""Our choice: how often the day's price range is asked for while a book has one side."""

PENDING_PACKETS: Final = 1_000
"""Packets kept for an instrument whose counters ran backwards, until its image comes."""

CLOCK_EVERY_NS: Final = 1 * SECOND_NS
CLOCK_MARGIN_NS: Final = 2 * SECOND_NS
"""The venue's stamps have seconds only and are of states: nothing older than this is still to come."""

PING_INTERVAL_S: Final = 5.0
DEAD_AFTER_S: Final = 2.5 * PING_INTERVAL_S
SILENT_AFTER_S: Final = 10.0
"""The venue sends a heartbeat every couple of seconds; without any frame for so long the connection is mute."""
AUTH_RETRY_S: Final = 5.0
AUTH_RETRY_CAP_S: Final = 300.0  # a token that was refused stays refused until somebody logs in: no hot loop (case 10)
HTTP_UNAUTHORIZED: Final = 401
HTTP_FORBIDDEN: Final = 403
